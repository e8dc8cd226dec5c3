"""Matching published values with our cells, and finding the differences between the measurements.

Published values are never compared silently: whatever is not the same as in this project, or not stated, is a
difference, and a value with differences gets no verdict.
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
    """A published value that may stand beside one of our numbers."""

    task: str
    """The name of our task or corpus."""
    metric: str
    """The name of our metric."""
    value: Published
    differences: tuple[str, ...]
    """The differences, omissions and doubts in words; empty if the two numbers compare."""


def matches(config: Config, cell: Cell, suite: str) -> list[Match]:
    """List the published values of everything that `suite` (a catalog name) measures on `cell`, as in values.csv."""
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
    """List the published values for `cell`, under the names of its catalog entries or of their plug-ins."""
    return [
        value
        for method in _names(config, "methods", cell.method)
        for allocator in _names(config, "allocators", cell.allocator)
        for value in by_point().get((cell.model, method, allocator, cell.pattern, cell.sparsity), ())
    ]


def _names(config: Config, kind: Literal["methods", "allocators"], name: str) -> list[str]:
    """List the names that values.csv may have for a catalog entry.

    The name of the plug-in is one of them only if the entry follows the paper or its code.
    """
    entry = getattr(config, kind)[name]
    plugin = getattr(entry, kind.removesuffix("s"))
    published = not entry.params and entry.preset.partition("_")[0] in ("paper", "released")
    return list(dict.fromkeys(([name] if name != plugin else []) + ([plugin] if published else [])))


def _differences(config: Config, cell: Cell, value: Published) -> Iterator[str]:
    """Yield in words how the pruning differs, and what is doubtful about `value`."""
    if not registry.load("methods", config.methods[cell.method].method).baseline:
        layers = config.allocators[cell.allocator].layers
        if value.layers != layers:
            words = {"all": "all blocks", "first_half": "the first half of the blocks"}
            yield f"{words[value.layers]} pruned, here {words[layers]}"
        # A method that looks at no text is the same with any calibration.
        if cell.calibration != NO_CALIBRATION and value.calibration != cell.calibration:
            known = f"{value.calibration}, here {cell.calibration}" if value.calibration else "not stated"
            yield f"calibration {known}"
    if value.doubt:
        yield value.doubt
    if value.implausible:
        yield f"implausible: {value.implausible}"
