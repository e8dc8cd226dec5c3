"""The contract of an allocator, and the budget that every allocation must meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.errors import CellFailure, PluginMistake
from prunebench.plugin import Plugin, Search

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy

Allocation = dict[str, float]
"""A map from the full name of each linear to its fraction of zeros."""


class Allocator(Plugin):
    """Base of all allocators. An allocator knows the model, but not the method that will prune it."""

    structured: ClassVar[bool] = False
    """Whether the allocator works with an n:m pattern, which fixes the sparsity of every linear."""
    runs_model: ClassVar[bool] = False
    """Whether the allocator itself runs the model on calibration tokens (`model.run`) and does not read the profile."""

    space: ClassVar[str] = ""
    """The name of the search space whose results the allocator can use; empty for none."""

    @property
    def searches(self) -> tuple[Search, ...]:
        """All searches that the parameters name."""
        return ()

    def search(self, sparsity: str) -> Search | None:
        """The search whose result the allocator uses at `sparsity` (two decimals), or None."""
        return None

    @property
    def place(self) -> int:
        """The rank of the candidate that the allocator takes, among all that its search tried; 1 is the best."""
        return 1

    def with_candidate(self, candidate: str) -> Allocator:
        """This allocator with the candidate (text) that its search found."""
        raise PluginMistake(f"allocator {self.name!r} has a `search` but does not define with_candidate")

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """The sparsity of each linear, such that the mean weighted by parameters is `sparsity` (see `budget.fit`).

        `model` has sizes and weights. It has the norms of inputs if "calibration" is in `uses`, and the engine's
        arguments (`model.run`) if `runs_model` is set.
        """
        raise PluginMistake(f"allocator {self.name!r} does not define allocate")


def check_budget(allocation: Mapping[str, float], sizes: Mapping[str, tuple[int, int]], sparsity: float) -> None:
    """Raise CellFailure unless every share is in [0, 1] and their mean, weighted by parameters, is `sparsity`."""
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
