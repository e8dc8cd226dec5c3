"""Which published values are of the same thing as a cell of ours, and in what they were measured differently.

Published values are never compared silently: whatever is not the same as here, or not stated, is a difference, and a
value with differences gets no verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from prunebench.cell import NO_CALIBRATION, Cell
from prunebench.config.schema import Config, configured
from prunebench.published.values import Published, by_point
from prunebench.suites.base import MEAN

SAME = {"perplexity": ("perplexity", "word_perplexity"), "acc": ("acc", "acc_unstated")}
"""By our metric, the published ones that may stand beside it."""
C4_WINDOWS = 256
"""So many windows of C4 are all that published codes evaluate on."""


@dataclass(frozen=True)
class Match:
    """A published value beside a number of ours."""

    task: str
    """The task or corpus of ours."""
    metric: Literal["perplexity", "acc"]
    """The metric of ours."""
    value: Published
    differences: tuple[str, ...]
    """What is not the same, not stated or not plausible, in words; nothing if the two compare."""


def matches(config: Config, cell: Cell, suite: str) -> list[Match]:
    """The published values of all that `suite` (a catalog name) measures of `cell`, in the order of values.csv."""
    values = _of_point(config, cell)
    if not values:
        return []
    entry = config.suites[suite]
    params: Any = configured("suites", entry).params
    metric: Literal["perplexity", "acc"] = "perplexity" if entry.suite == "perplexity" else "acc"
    tasks = params.corpora if metric == "perplexity" else [*params.tasks, *([MEAN] if len(params.tasks) > 1 else [])]
    return [
        Match(value.task, metric, value, tuple(_differences(config, cell, params, metric, value)))
        for value in values
        if value.task in tasks and value.metric in SAME[metric]
    ]


def _of_point(config: Config, cell: Cell) -> list[Published]:
    """The published values of what `cell` is, under the names of its catalog entries or of their plug-ins."""
    return [
        value
        for method in _names(config, "methods", cell.method)
        for allocator in _names(config, "allocators", cell.allocator)
        for value in by_point().get((cell.model, method, allocator, cell.pattern, cell.sparsity), ())
    ]


def _names(config: Config, kind: Literal["methods", "allocators"], name: str) -> list[str]:
    """What values.csv may call a catalog entry: as its plug-in only if it is that of the paper, or of its code."""
    entry = getattr(config, kind)[name]
    plugin = getattr(entry, kind.removesuffix("s"))
    published = not entry.params and entry.preset.partition("_")[0] in ("paper", "released")
    return list(dict.fromkeys(([name] if name != plugin else []) + ([plugin] if published else [])))


def _differences(config: Config, cell: Cell, params: Any, metric: str, value: Published) -> Iterator[str]:
    if metric == "perplexity":
        yield from _text(params, value)
    else:
        yield from _tasks(params, value)
    if value.method != "dense":
        layers = config.allocators[cell.allocator].layers
        if value.layers != layers:
            words = {"all": "all blocks", "first_half": "the first half of the blocks"}
            yield f"{words[value.layers]} pruned, here {words[layers]}"
        # What looks at no text is the same with any.
        if cell.calibration != NO_CALIBRATION and value.calibration != cell.calibration:
            known = f"{value.calibration}, here {cell.calibration}" if value.calibration else "not stated"
            yield f"calibration {known}"
    if value.doubt:
        yield value.doubt
    if value.implausible:
        yield f"implausible: {value.implausible}"


def _text(params: Any, value: Published) -> Iterator[str]:
    if value.metric == "word_perplexity":
        yield "perplexity per word, here per token"
    elif value.seqlen != params.seqlen:
        known = f"of {value.seqlen} tokens, here of {params.seqlen}" if value.seqlen else "of a length not stated"
        yield f"windows {known}"
    if params.split != "test":
        yield f"on the test split, here on {params.split}"
    if params.bos is not True:
        where = "in front of each window" if params.bos else "without"
        yield f"with a BOS token in front of the text, as published codes tokenise, here {where}"
    if params.windows and not (value.task == "c4" and params.windows >= C4_WINDOWS):
        yield f"all windows, here the first {params.windows}"


def _tasks(params: Any, value: Published) -> Iterator[str]:
    if value.metric == "acc_unstated":
        yield "accuracy of which it is not stated whether choices are weighed by length, here they are not"
    if value.task == MEAN and set(value.tasks) != set(params.tasks):
        known = f"over {', '.join(value.tasks)}" if value.tasks else "over tasks not stated"
        yield f"mean {known}, here over {', '.join(params.tasks)}"
    if params.limit:
        yield f"all rows, here {params.limit} of each task"
    if params.num_fewshot:
        yield f"no examples in the prompt, here {params.num_fewshot}"
