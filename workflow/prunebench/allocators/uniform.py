"""Uniform: the same sparsity for every matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.allocators.base import Allocation, Allocator

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Uniform(Allocator):
    """Give every linear the target sparsity s: the baseline, and the only allocation for n:m patterns.
    It needs neither data nor the weights.

        grid:
          - {allocator: uniform, method: wanda, sparsity: 0.5}
    """

    name = "uniform"
    title = "Uniform"
    structured = True

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Return the target for every linear."""
        return dict.fromkeys(model.sizes, sparsity)
