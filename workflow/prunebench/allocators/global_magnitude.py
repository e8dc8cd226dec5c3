"""Global magnitude: one threshold over the absolute weights of the whole model."""

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
    """One sparsity per linear: the share of its `|W_ij|` that are among the lowest s of the whole model.

    As `global`, with the size of weights in place of Wanda's score: with method `magnitude` this is global magnitude
    pruning, but that equal weights at the threshold (many, where weights have 8 bits of precision) are shared out in
    proportion and not by position.

    Needs no data. The cost is three passes over the weights; never is more than one matrix of scores in memory.

    The code published with LSA does the same with the head of the language model left out, as it is here.
    """

    name = "global_magnitude"
    title = "Global (magnitude)"
    reference = "Han et al. 2015, with one threshold for all layers"

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """From the dense model's weights."""

        def score(linear: str) -> torch.Tensor:
            return scores.magnitude(model.weight(linear))

        return fit(shares_below(score, model.sizes, sparsity), model.sizes, sparsity)
