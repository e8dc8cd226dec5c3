"""The contract of an allocator, and the budget that every allocation must meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.errors import CellFailure
from prunebench.plugin import Plugin, Search

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy

Allocation = dict[str, float]
"""Full linear name -> fraction of zeros."""


class Allocator(Plugin):
    """Base of all allocators. They know the model, never the method that will prune it."""

    structured: ClassVar[bool] = False
    """Whether it can serve an n:m pattern, which fixes the sparsity of every linear."""
    runs_model: ClassVar[bool] = False
    """Whether it runs the model on the calibration tokens itself (`model.run`) instead of reading the profile."""

    space: ClassVar[str] = ""
    """The space of searches whose results it can use."""

    @property
    def searches(self) -> tuple[Search, ...]:
        """All searches that its parameters name."""
        return ()

    def search(self, sparsity: str) -> Search | None:
        """The one whose result it uses at `sparsity` (two decimals), if it uses one."""
        return None

    @property
    def place(self) -> int:
        """Which of all that its search has tried it takes: 1 is the best."""
        return 1

    def found(self, candidate: str) -> Allocator:
        """This allocator with what its search has found."""
        raise TypeError(f"allocator {self.name!r} has a `search` but does not define found")

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """The sparsity of each linear, such that the parameter-weighted mean is `sparsity` (see `budget.fit`).

        `model` gives sizes and weights, the norms of inputs to allocators that have "calibration" in `uses`, and what
        the engine takes (`model.run`) to those that have `runs_model`.
        """
        raise TypeError(f"allocator {self.name!r} does not define allocate")


def check_budget(allocation: Mapping[str, float], sizes: Mapping[str, tuple[int, int]], sparsity: float) -> None:
    """Raise CellFailure unless every share is in [0, 1] and their parameter-weighted mean is `sparsity`."""
    if allocation.keys() != sizes.keys():
        difference: Any = sorted(allocation.keys() ^ sizes.keys())
        raise CellFailure(f"the allocation and the model disagree on the linears: {difference[:3]}")
    for linear, share in allocation.items():
        if not 0 <= share <= 1:
            raise CellFailure(f"the allocation gives {linear} a sparsity of {share}, outside [0, 1]")
    total = sum(out * width for out, width in sizes.values())
    mean = sum(allocation[linear] * out * width for linear, (out, width) in sizes.items()) / total
    if abs(mean - sparsity) > 1e-6:
        raise CellFailure(f"the allocation's weighted mean sparsity is {mean:.6f}, not {sparsity:.6f}")
