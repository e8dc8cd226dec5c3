"""Global: one threshold for the Wanda scores of the whole model."""

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
    """Give each linear the share of its Wanda scores that are among the lowest s of the whole model.
    This is a baseline of the literature and no advice: some linears may lose nearly all weights.

        grid:
          - {allocator: global, method: wanda, sparsity: 0.7}

    Scores are `|W_ij| ||x_j||_2` of the dense model; a fraction s of the scores of all linears is at or below one
    threshold. Each linear gives the same fraction of its scores that equal the threshold, so the budget holds exactly.
    Weights that are zero rank below weights whose input is always 0. Only the shares are used: the method chooses the
    weights, by its own ranks within rows or matrices. The norms of inputs differ widely between blocks, so their scores
    are not on one scale.

    The cost is one forward pass of the dense model over the calibration tokens, shared by all allocators that read
    data, and three passes over the scores, with one matrix of them in memory at a time. The tables of OWL and DSA use
    Wanda's scores too; others use `|W|`, which is `global_magnitude` here.
    """

    name = "global"
    title = "Global"
    reference = "baseline in Yin et al. 2024 (OWL) and Li et al. 2024 (DSA)"
    uses: ClassVar[frozenset[str]] = frozenset({"calibration", "seed"})

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the dense model's weights and norms of inputs."""

        def score(linear: str) -> torch.Tensor:
            weight, norm = model.weight(linear), model.squared_norm(linear)
            score = scores.wanda(weight, norm)
            return score if norm.all() else scores.above_zeros(score, weight)

        return fit(shares_below(score, model.sizes, sparsity), model.sizes, sparsity)
