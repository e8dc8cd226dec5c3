"""Which published values are of the same thing as a cell of ours, and in what they were measured differently.

Published values are never compared silently: whatever is not the same as here, or not stated, is a difference, and a
value with differences gets no verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prunebench import registry
from prunebench.cell import NO_CALIBRATION, Cell
from prunebench.config.schema import Config, configured
from prunebench.published.values import Published, by_point
from prunebench.suites.base import Suite


@dataclass(frozen=True)
class Match:
    """A published value beside a number of ours."""

    task: str
    """The task or corpus of ours."""
    metric: str
    """The metric of ours."""
    value: Published
    differences: tuple[str, ...]
    """What is not the same, not stated or not plausible, in words; nothing if the two compare."""


def matches(config: Config, cell: Cell, suite: str) -> list[Match]:
    """The published values of all that `suite` (a catalog name) measures of `cell`, in the order of values.csv."""
    values = _of_point(config, cell)
    if not values:
        return []
    plugin: Suite = configured("suites", config.suites[suite])
    return [
        Match(value.task, metric.name, value, (*plugin.differences(value), *_differences(config, cell, value)))
        for value in values
        if value.task in plugin.tasks
        for metric in plugin.metrics
        if value.metric in metric.published
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


def _differences(config: Config, cell: Cell, value: Published) -> Iterator[str]:
    """What was pruned otherwise, and what is doubtful about `value`."""
    if not registry.load("methods", config.methods[cell.method].method).baseline:
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
