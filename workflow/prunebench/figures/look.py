"""The label and the style of each row of results, which are the same in all figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prunebench.figures.chart import Style
from prunebench.figures.palette import DASHES

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.tables.base import Evidence


@dataclass(frozen=True)
class Look:
    """The labels and styles of a study.

    `methods`, `allocators`, `calibrations` and n:m `patterns` are the names that occur in the study, in its order.
    `structured` are the allocators of cells with n:m patterns, `partial` those that leave half of the blocks alone.
    """

    labels: Mapping[str, str]
    methods: Sequence[str]
    allocators: Sequence[str]
    calibrations: Sequence[str] = ()
    patterns: Sequence[str] = ()
    structured: Sequence[str] = ()
    partial: Sequence[str] = ()

    @classmethod
    def of(cls, evidence: Evidence) -> Look:
        """Collect the names that occur in the study of `evidence`."""
        plan, cells = evidence.plan, evidence.plan.studies[evidence.study].cells
        structured = [cell for cell in cells if cell.shape.structured]
        return cls(
            labels=evidence.labels,
            methods=list(dict.fromkeys(cell.method for cell in cells if cell.method not in plan.shown.baselines)),
            allocators=list(dict.fromkeys(cell.allocator for cell in cells)),
            calibrations=list(dict.fromkeys(cell.calibration for cell in cells if cell.calibrated)),
            patterns=list(dict.fromkeys(cell.pattern for cell in structured)),
            structured=list(dict.fromkeys(cell.allocator for cell in structured)),
            partial=evidence.half,
        )

    def title(self, name: str) -> str:
        """Find the printed title of an entry of a catalog, such as corpora/c4_type or methods/wanda."""
        return self.labels.get(name, name.rpartition("/")[2])

    def label(self, row: Mapping[str, Any] | pd.Series[Any]) -> str:
        """Write the legend entry of `row`: its method, and whatever else tells the study's rows apart."""
        name = self.title(f"methods/{row['method']}")
        if len(self.structured if row["pattern"] in self.patterns else self.allocators) > 1:
            # Titles have commas, as in "SparseLLM, tuned".
            name = f"{name} + {self.title('allocators/' + row['allocator'])}"
        parts = [name]
        if row["pattern"] in self.patterns:
            parts.append(row["pattern"])
        if len(self.calibrations) > 1 and row["calibration"] in self.calibrations:
            parts.append(row["calibration"])
        return ", ".join(parts)

    def style(self, row: Mapping[str, Any] | pd.Series[Any]) -> Style:
        """Choose the style: colour and marker say the method, dash and filling the allocator (and calibration).

        It is the other way round where there are more allocators than dashes, and than methods. n:m points are hollow.
        """
        method = self.methods.index(row["method"])
        if row["pattern"] in self.patterns:
            allocator = self.structured.index(row["allocator"]) if row["allocator"] in self.structured else 0
            variant = self.patterns.index(row["pattern"]) + allocator * len(self.patterns)
            return Style(method, method + variant * len(self.methods), fill="hollow")
        calibration = self.calibrations.index(row["calibration"]) if row["calibration"] in self.calibrations else 0
        variant = self.allocators.index(row["allocator"]) + calibration * len(self.allocators)
        variants = len(self.allocators) * max(1, len(self.calibrations))
        if variants > max(len(DASHES), len(self.methods)):
            return _style(variant, method, variants)
        return _style(method, variant, len(self.methods))


def _style(first: int, second: int, count: int) -> Style:
    """Show `first` (of `count`) by colour and marker, `second` by dash, and by another marker when dashes run out."""
    return Style(first, first + second // len(DASHES) * count, second, "half" if second else "full")
