"""Magnitude pruning: zero the smallest weights of each matrix, without any data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prunebench.formulas import masks, scores
from prunebench.methods.base import MaskingMethod
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.statistics import SiteStatistic


class Magnitude(MaskingMethod):
    """Zero the weights of smallest magnitude `|W_ij|` in each matrix; for n:m, in each group.
    It needs no data, and weights that stay are not changed.

        methods:
          magnitude_as_published: {method: magnitude, params: {selection: threshold}}

    All rows of a matrix are ranked together, so rows of small weights lose more. Of equal magnitudes, lower rows and
    then lower columns go first. The cost is to read the weights and to select among them, O(n) for n weights.

    The code published with Wanda and SparseGPT takes the value at rank int(numel * s) as a threshold and zeroes
    everything up to and including it, so one weight too many plus all ties: preset `released`. For n:m the two agree.
    """

    class Params(Parameters):
        """Parameters of magnitude pruning."""

        selection: Literal["exact", "threshold"] = "exact"
        """exact: as many weights as the sparsity means; threshold: all up to the value of that rank"""

    name = "magnitude"
    title = "Magnitude"
    reference = "Han et al. 2015; per-matrix threshold as in Sun et al. 2024"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"selection": "threshold"}}

    @property
    def exact(self) -> bool:
        """Whether the number of zeros is exact; a threshold prunes ties too."""
        return bool(self.params.selection == "exact")

    def mask(self, weight: torch.Tensor, statistic: SiteStatistic, sparsity: float, pattern: Pattern) -> torch.Tensor:
        """The smallest weights; the activations play no part."""
        score = scores.magnitude(weight)
        if self.params.selection == "exact" or pattern.structured:
            return masks.prune_mask(score, weight, sparsity, pattern, scope=self.scope)
        return masks.up_to_rank(score, sparsity)
