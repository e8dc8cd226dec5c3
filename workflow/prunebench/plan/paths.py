"""Every path of the pipeline, in one place.

Each constant is a pattern that Snakemake uses as it stands; `PATTERN.format(**cell.wildcards)` makes it concrete.
Paths are relative to the working directory and are never parsed to get results: result files describe themselves.
"""

import re
from functools import cache

CELL = "{model}/{method}/{allocator}/{point}/{calibration}-seed{seed}"

ASSET = "resources/{asset}/asset.json"
"""`asset` is kind and catalog name: corpora/c4_type."""
MODEL = "resources/models/{model}/asset.json"
CORPUS = "resources/corpora/{corpus}/asset.json"
TASKS = "resources/tasks/{tasks}/asset.json"

TRAINED = "results/trained/{model}"
"""The `from_pretrained` directory of a model that is trained here; without it, the beginning of its records' names."""

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


DRAW = "{model}/{calibration}-seed{seed}"
"""What is drawn from a corpus for a model."""

_SLUG = "[a-z0-9][a-z0-9_.]*"
WILDCARDS = {
    **dict.fromkeys(
        ("model", "corpus", "tasks", "method", "allocator", "calibration", "suite", "study", "search"), _SLUG
    ),
    "point": r"unstructured-s0\.\d\d|\d+of\d+",
    "seed": r"\d+",
}
"""What the wildcards of patterns stand for, as regular expressions; any other is one part of a path."""


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """The regular expression of the paths that `pattern` stands for, a group for each wildcard."""
    text, *rest = re.split(r"\{(\w+)\}", pattern)
    parts = zip(rest[::2], rest[1::2], strict=True)
    groups = (f"(?P<{name}>{WILDCARDS.get(name, '[^/]+')}){re.escape(text)}" for name, text in parts)
    return re.compile(re.escape(text) + "".join(groups))
