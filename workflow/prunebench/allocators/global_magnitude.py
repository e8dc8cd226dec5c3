"""Global magnitude: one threshold for the magnitudes of all weights of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.allocators.base import Allocation, Allocator
from prunebench.formulas import scores
from prunebench.formulas.budget import fit
from prunebench.formulas.thresholds import shares_below

if TYPE_CHECKING:
    import torch

    from prunebench.engine.anatomy import Anatomy


class GlobalMagnitude(Allocator):
    """Give each linear the share of its magnitudes `|W_ij|` that are among the lowest s of the whole model.
    It needs no data.

        grid:
          - {allocator: global_magnitude, method: magnitude, sparsity: 0.5}

    It works like `global`, with magnitudes in place of Wanda's scores. With method `magnitude` this is global magnitude
    pruning, except that equal weights at the threshold (many, where weights have 8 bits of precision) are divided
    between linears in proportion and not by position. The cost is three passes over the weights, with one matrix of
    scores in memory at a time. The code published with LSA computes the same, without the head of the language model.
    """

    name = "global_magnitude"
    title = "Global (magnitude)"
    reference = "Han et al. 2015, with one threshold for all layers"

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the dense model's weights."""

        def score(linear: str) -> torch.Tensor:
            return scores.magnitude(model.weight(linear))

        return fit(shares_below(score, model.sizes, sparsity), model.sizes, sparsity)
