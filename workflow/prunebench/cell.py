"""A cell: one point of the benchmark (model, method, allocator, pattern, sparsity, calibration, seed)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from prunebench.patterns import Pattern, parse_pattern

NO_CALIBRATION = "none"


@dataclass(frozen=True, order=True)
class Cell:
    """One point of the benchmark. Paths and tables print its fields as they are."""

    model: str
    method: str
    allocator: str
    pattern: str
    sparsity: str
    """The fraction of zeros with two decimals; for n:m the (rounded) fraction that the pattern implies."""
    calibration: str
    seed: int

    @classmethod
    def of(cls, wildcards: Mapping[str, Any]) -> "Cell":
        """The cell that the wildcards of a path name; `method` is empty where there is none."""
        pattern, _, sparsity = wildcards["point"].partition("-s")
        return cls(
            wildcards["model"],
            wildcards.get("method", ""),
            wildcards["allocator"],
            pattern,
            sparsity or f"{float(parse_pattern(pattern).sparsity):.2f}",
            wildcards["calibration"],
            int(wildcards["seed"]),
        )

    @cached_property
    def shape(self) -> Pattern:
        """The parsed pattern."""
        return parse_pattern(self.pattern)

    @property
    def point(self) -> str:
        """Pattern and sparsity as one component of a path: `unstructured-s0.70`, or `2of4`."""
        return self.pattern if self.shape.structured else f"unstructured-s{self.sparsity}"

    @property
    def calibrated(self) -> bool:
        """Whether the method or the allocator of this cell reads calibration tokens."""
        return self.calibration != NO_CALIBRATION

    @property
    def wildcards(self) -> dict[str, Any]:
        """The values of the wildcards in the path patterns of `plan/paths.py`."""
        return {
            "model": self.model,
            "method": self.method,
            "allocator": self.allocator,
            "point": self.point,
            "calibration": self.calibration,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        parts = [self.model, self.method, self.allocator, self.point]
        return " ".join([*parts, f"{self.calibration}-seed{self.seed}"] if self.calibrated or self.seed else parts)


AXES = tuple(field.name for field in fields(Cell))
"""The names of a cell's fields, which are columns of results/cells.csv."""
