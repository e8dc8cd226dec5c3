"""Every path of the pipeline, in one place.

Each constant is a pattern that Snakemake uses as it stands; `PATTERN.format(**cell.wildcards)` makes it concrete.
Paths are relative to the working directory and are never parsed to get results: result files describe themselves.
"""

CELL = "{model}/{method}/{allocator}/{point}/{calibration}-seed{seed}"

ASSET = "resources/{asset}/asset.json"
"""`asset` is kind and catalog name: corpora/c4_type."""
MODEL = "resources/models/{model}/asset.json"
CORPUS = "resources/corpora/{corpus}/asset.json"
TASKS = "resources/tasks/{tasks}/asset.json"

_TOKENS = "results/calibration/{model}/{calibration}-seed{seed}"
TOKENS = f"{_TOKENS}.npy"
TOKENS_RECORD = f"{_TOKENS}.json"

_PROFILE = "results/profiles/{model}/{calibration}-seed{seed}"
PROFILE = f"{_PROFILE}.safetensors"
PROFILE_MEASURED = f"{_PROFILE}.measured.json"

ALLOCATION = "results/allocations/{model}/{allocator}/{point}/{calibration}-seed{seed}.json"

WEIGHTS = f"results/pruned/{CELL}/weights.safetensors"
MASKS = f"results/pruned/{CELL}/masks.safetensors"
PRUNED = f"results/pruned/{CELL}/prune.json"
PRUNE_MEASURED = f"results/pruned/{CELL}/measured.json"

EVALUATION = f"results/evaluations/{CELL}/{{suite}}.json"
EVALUATION_MEASURED = f"results/evaluations/{CELL}/{{suite}}.measured.json"

CELLS = "results/cells.csv"
TABLE = "results/tables/{study}/{table}.{format}"
TABLE_FORMATS = ("md", "csv", "html", "tex")
FIGURE = "results/figures/{study}/{figure}.{format}"
FIGURE_FORMATS = ("svg", "png")
REPORT = "results/report/index.html"


def log(rule: str, subject: str) -> str:
    """Log file pattern of `rule`, where `subject` names the job by its wildcards."""
    return f"logs/{rule}/{subject}.log"


def benchmark(rule: str, subject: str) -> str:
    """Benchmark file pattern of `rule` (whole-process seconds and memory, taken by Snakemake)."""
    return f"benchmarks/{rule}/{subject}.tsv"
