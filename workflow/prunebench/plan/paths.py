"""All paths of the pipeline.

Each constant is a pattern that Snakemake uses; `PATTERN.format(**cell.wildcards)` gives the path of one cell. Paths are
relative to the working directory. No result is read from the name of a path: result files describe themselves.
"""

import re
from functools import cache
from hashlib import sha256

from prunebench.config.schema import CONFIG
from prunebench.names import SLUG

CELL = "{model}/{method}/{allocator}/{point}/{calibration}-seed{seed}"

ASSET = "resources/{asset}/asset.json"
"""The wildcard `asset` is kind and catalog name, as in corpora/c4_type."""
MODEL = "resources/models/{model}/asset.json"
CORPUS = "resources/corpora/{corpus}/asset.json"
TASKS = "resources/tasks/{tasks}/asset.json"
ASSET_FILES = "files"
"""The directory beside an asset.json that holds all files of the asset, where there is no shared file system."""

TRAINED = "results/trained/{model}"
"""The `from_pretrained` directory of a model that is trained here. The names of its records begin in the same way."""

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
"""The best result of all seeds of a search."""

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
BLOCKS = ".blocks"
"""The directory beside a prune.json in which the finished blocks of a running job lie."""

EVALUATION = f"results/evaluations/{CELL}/{{suite}}.json"
EVALUATION_MEASURED = f"results/evaluations/{CELL}/{{suite}}.measured.json"

CELLS = "{home}/cells.csv"
"""The wildcard `home` is the directory of what is made of one config; see `home`."""
TABLE = "{home}/tables/{study}/{table}.{format}"
TABLE_FORMATS = ("md", "csv", "html", "tex")
FIGURE = "{home}/figures/{study}/{figure}.{format}"
FIGURE_FORMATS = ("svg", "png")
REPORT = "{home}/report/index.html"
CONFIG_RECORD = "{home}/config.json"
"""The config of the last run in `home`, so that its results are known although its file has gone."""
INDEX = "results/index.html"
"""A page that leads to the reports of all configs."""
HOME, OTHERS = "results", "results/of"


DRAW = "{model}/{calibration}-seed{seed}"
"""The subject of jobs on windows that are drawn from a corpus for a model."""

_SLUG = SLUG[1:-1]
WILDCARDS = {
    **dict.fromkeys(
        ("model", "corpus", "tasks", "method", "allocator", "calibration", "suite", "study", "search"), _SLUG
    ),
    "point": r"unstructured-s0\.\d\d|\d+of\d+",
    "seed": r"\d+",
    "home": rf"{HOME}(?:{OTHERS.removeprefix(HOME)}/.+?)?",
}
"""Regular expressions of the values of wildcards. Any other wildcard is one part of a path."""


def home(file: str) -> str:
    """The directory for cells.csv, tables, figures and report of the config `file`, a name that `label` gives.

    These are the only files that one config's run and another's would both write, so each config has its own: the
    default config HOME, all others a directory below OTHERS that is called like the file.
    """
    if file == str(CONFIG):
        return HOME
    name = re.sub(r"[^\w/-]+", "_", file.removesuffix(".yaml")).strip("/_")
    # Another file may become the same name only if letters were replaced.
    return f"{OTHERS}/{name}" + ("" if f"{name}.yaml" == file else f"-{sha256(file.encode()).hexdigest()[:6]}")


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """A regular expression for the paths that `pattern` stands for, with a group for each wildcard."""
    text, *rest = re.split(r"\{(\w+)\}", pattern)
    parts = zip(rest[::2], rest[1::2], strict=True)
    groups = (f"(?P<{name}>{WILDCARDS.get(name, '[^/]+')}){re.escape(text)}" for name, text in parts)
    return re.compile(re.escape(text) + "".join(groups))
