"""Global: one threshold over the Wanda scores of the whole model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from prunebench.allocators.base import Allocation, Allocator
from prunebench.formulas import scores
from prunebench.formulas.budget import fit
from prunebench.formulas.thresholds import shares_below

if TYPE_CHECKING:
    import torch

    from prunebench.engine.anatomy import Anatomy


class Global(Allocator):
    """One sparsity per linear: the share of its Wanda scores that are among the lowest s of the whole model.

    Scores are `|W_ij| ||x_j||_2` of the dense model; a fraction s of all of them, those of all pruned linears together,
    is at or below one threshold. Of scores that equal it, each linear gives the same fraction, so the budget holds
    without a correction. Weights that are zero come before those whose input is always 0. Only the shares are used:
    which weights go is left to the method, which ranks anew inside its rows or matrices.

    Scores of different blocks are not on one scale, as the norms of their inputs differ widely: some linears may lose
    nearly everything. It is here as the baseline that it is in the literature, not as advice.

    The cost is one forward pass of the dense model over the calibration tokens, shared by all allocators that look at
    data, and three passes over the scores. Never is more than one matrix of scores in memory.

    The tables of OWL and DSA use Wanda's scores too; others threshold `|W|`, which is `global_magnitude` here.
    """

    name = "global"
    title = "Global"
    reference = "baseline in Yin et al. 2024 (OWL) and Li et al. 2024 (DSA)"
    uses: ClassVar[frozenset[str]] = frozenset({"calibration", "seed"})

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """From the dense model's weights and site norms."""

        def score(linear: str) -> torch.Tensor:
            weight, norm = model.weight(linear), model.squared_norm(linear)
            score = scores.wanda(weight, norm)
            return score if norm.all() else scores.above_zeros(score, weight)

        return fit(shares_below(score, model.sizes, sparsity), model.sizes, sparsity)
