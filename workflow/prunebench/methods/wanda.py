"""Wanda: magnitudes of weights times norms of inputs, ranked within each output row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prunebench.engine.stat import Stat
from prunebench.formulas import masks, scores
from prunebench.methods.base import MaskingMethod
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.statistics import SiteStatistic


class Wanda(MaskingMethod):
    """Zero the weights of each output row with the smallest products of magnitude and input norm.
    Each row has the same sparsity; for n:m the lowest of each group go. Weights that stay are not changed.

        methods:
          wanda_down: {method: wanda, params: {rounding: down}}

    The score is `S_ij = |W_ij| ||x_j||_2`, where `x_j` is the j-th input of the linear over all calibration tokens; its
    norm is summed in float64. The cost is two forward passes over the calibration tokens, one for the norms and one
    with the pruned weights, and a selection in each row. Memory beside the block and its activations: one number per
    input.

    The published code averages `||x_j||^2` over samples, which changes no ranking. It rounds the number of zeros per
    row down (preset `released`); here it is rounded to the nearest, which matters when an allocator gives every matrix
    its own sparsity. The paper's variant with a threshold on accumulated scores is not implemented.
    """

    class Params(Parameters):
        """Parameters of Wanda."""

        rounding: Literal["nearest", "down"] = "nearest"
        """how the number of zeros in a row is rounded"""

    name = "wanda"
    title = "Wanda"
    reference = "Sun et al. 2024, A Simple and Effective Pruning Approach for Large Language Models, eq. 1"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"rounding": "down"}}
    uses: ClassVar[frozenset[str]] = MaskingMethod.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM})
    scope = "row"

    def asked(self, weights: int, sparsity: float) -> int:
        """The number of zeros that `sparsity` means, rounded as the parameters say."""
        return int(weights * sparsity) if self.params.rounding == "down" else super().asked(weights, sparsity)

    def mask(self, weight: torch.Tensor, statistic: SiteStatistic, sparsity: float, pattern: Pattern) -> torch.Tensor:
        """Mask of the lowest scores of each row."""
        score = scores.wanda(weight, statistic.squared_norm)
        if self.params.rounding == "down" and not pattern.structured:
            return masks.lowest(masks.zeros_first(score, weight), self.asked(weight.shape[1], sparsity))
        return masks.prune_mask(score, weight, sparsity, pattern, scope=self.scope)
