"""Uniform: the same sparsity for every matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.allocators.base import Allocation, Allocator

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Uniform(Allocator):
    """The target s for every linear: the baseline, and the only allocation that an n:m pattern allows.

    Needs neither data nor the weights.
    """

    name = "uniform"
    title = "Uniform"
    structured = True

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """The target itself, per linear."""
        return dict.fromkeys(model.sizes, sparsity)
