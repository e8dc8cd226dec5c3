"""Every path of the pipeline, in one place.

Each constant is a pattern that Snakemake uses as it stands; `PATTERN.format(**cell.wildcards)` makes it concrete.
Paths are relative to the working directory and are never parsed to get results: result files describe themselves.
"""

import re
from functools import cache
from typing import NamedTuple

CELL = "{model}/{method}/{allocator}/{point}/{calibration}-seed{seed}"

ASSET = "resources/{asset}/asset.json"
"""`asset` is kind and catalog name: corpora/c4_type."""
MODEL = "resources/models/{model}/asset.json"
CORPUS = "resources/corpora/{corpus}/asset.json"
TASKS = "resources/tasks/{tasks}/asset.json"

_TRAINED = "results/trained/{model}"
TRAINING = f"{_TRAINED}.json"
TRAINING_MEASURED = f"{_TRAINED}.measured.json"
_TRAINED_NAMES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
TRAINED = tuple(f"{_TRAINED}/{name}" for name in _TRAINED_NAMES)
"""A `from_pretrained` directory."""

_TOKENS = "results/calibration/{model}/{calibration}-seed{seed}"
TOKENS = f"{_TOKENS}.npy"
TOKENS_RECORD = f"{_TOKENS}.json"

_PROFILE = "results/profiles/{model}/{calibration}-seed{seed}"
PROFILE = f"{_PROFILE}.safetensors"
PROFILE_MEASURED = f"{_PROFILE}.measured.json"

_SEARCH = "results/searches/{search}/seed{seed}"
SEARCH = f"{_SEARCH}.json"
SEARCH_HISTORY = f"{_SEARCH}.history.csv"
SEARCH_MEASURED = f"{_SEARCH}.measured.json"
SEARCH_BEST = "results/searches/{search}/best.json"
"""The best that any seed of a search found."""

_GRADIENTS = "results/gradients/{model}/{calibration}-seed{seed}"
GRADIENTS = f"{_GRADIENTS}.safetensors"
GRADIENTS_MEASURED = f"{_GRADIENTS}.measured.json"

_ALLOCATION = "results/allocations/{model}/{allocator}/{point}/{calibration}-seed{seed}"
ALLOCATION = f"{_ALLOCATION}.json"
ALLOCATION_MEASURED = f"{_ALLOCATION}.measured.json"

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


class Rule(NamedTuple):
    """What the jobs of a rule write."""

    subject: str
    """Names a job of the rule by its wildcards, in its log and its benchmark."""
    outputs: tuple[str, ...]
    """Patterns; when a job is done, the first is there."""


_DRAW = "{model}/{calibration}-seed{seed}"
RULES = {
    "train_model": Rule("{model}", (TRAINING, TRAINING_MEASURED, *TRAINED)),
    "fetch_model": Rule("{model}", (MODEL,)),
    "fetch_corpus": Rule("{corpus}", (CORPUS,)),
    "fetch_tasks": Rule("{tasks}", (TASKS,)),
    "calibrate": Rule(_DRAW, (TOKENS, TOKENS_RECORD)),
    "profile": Rule(_DRAW, (PROFILE, PROFILE_MEASURED)),
    "search_allocation": Rule("{search}-seed{seed}", (SEARCH, SEARCH_HISTORY, SEARCH_MEASURED)),
    "gather_search": Rule("{search}", (SEARCH_BEST,)),
    "allocate": Rule("{model}/{allocator}/{point}/{calibration}-seed{seed}", (ALLOCATION, ALLOCATION_MEASURED)),
    "gradients": Rule(_DRAW, (GRADIENTS, GRADIENTS_MEASURED)),
    "prune": Rule(CELL, (PRUNED, PRUNE_MEASURED, WEIGHTS)),
    "keep_masks": Rule(CELL, (MASKS,)),
    "evaluate": Rule(f"{CELL}/{{suite}}", (EVALUATION, EVALUATION_MEASURED)),
    "collect": Rule("cells", (CELLS,)),
    "tables": Rule("{study}-{table}", tuple(TABLE.replace("{format}", format) for format in TABLE_FORMATS)),
    "figures": Rule("{study}-{figure}", tuple(FIGURE.replace("{format}", format) for format in FIGURE_FORMATS)),
    "report": Rule("index", (REPORT,)),
    "strict": Rule("all", ()),
}

_SLUG = "[a-z0-9][a-z0-9_.]*"
WILDCARDS = {
    **dict.fromkeys(
        ("model", "corpus", "tasks", "method", "allocator", "calibration", "suite", "study", "search"), _SLUG
    ),
    "point": r"unstructured-s0\.\d\d|\d+of\d+",
    "seed": r"\d+",
}
"""What the wildcards of patterns stand for, as regular expressions; any other is one part of a path."""


def log(rule: str) -> str:
    """Log file pattern of `rule`."""
    return f"logs/{rule}/{RULES[rule].subject}.log"


def benchmark(rule: str) -> str:
    """Benchmark file pattern of `rule` (whole-process seconds and memory, taken by Snakemake)."""
    return f"benchmarks/{rule}/{RULES[rule].subject}.tsv"


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """The regular expression of the paths that `pattern` stands for, a group for each wildcard."""
    text, *rest = re.split(r"\{(\w+)\}", pattern)
    parts = zip(rest[::2], rest[1::2], strict=True)
    groups = (f"(?P<{name}>{WILDCARDS.get(name, '[^/]+')}){re.escape(text)}" for name, text in parts)
    return re.compile(re.escape(text) + "".join(groups))
