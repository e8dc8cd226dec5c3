"""Uniform: the same sparsity for every matrix."""

from collections.abc import Mapping

from prunebench.allocators.base import Allocation, Allocator


class Uniform(Allocator):
    """s for every linear: the baseline, and the only allocation that an n:m pattern allows."""

    name = "uniform"
    title = "Uniform"
    structured = True

    def allocate(self, sizes: Mapping[str, tuple[int, int]], sparsity: float) -> Allocation:
        """The target itself, per linear."""
        return dict.fromkeys(sizes, sparsity)
