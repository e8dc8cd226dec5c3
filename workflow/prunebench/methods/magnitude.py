"""Magnitude pruning: drop the smallest weights of each matrix. Needs no data."""

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
    """Zero the lowest `|W_ij|` of each matrix; for n:m the lowest of each group. No weight update.

    Needs no data, and nothing runs forward: the cost is reading the weights and selecting among them, O(n) for n
    weights. All rows of a matrix are ranked together, so rows of small weights lose more. Equal magnitudes go by row,
    then column.

    The code published with Wanda and SparseGPT takes the value at rank int(numel * s) as a threshold and zeroes
    everything up to and including it, so one weight too many plus all ties: preset `released`. For n:m the two agree.
    """

    class Params(Parameters):
        """Parameters of magnitude pruning."""

        selection: Literal["exact", "threshold"] = "exact"
        """as many weights as asked for, or all up to the one of that rank"""

    name = "magnitude"
    title = "Magnitude"
    reference = "Han et al. 2015; per-matrix threshold as in Sun et al. 2024"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"selection": "threshold"}}

    @property
    def exact(self) -> bool:
        """A threshold takes ties along."""
        return bool(self.params.selection == "exact")

    def mask(self, weight: torch.Tensor, statistic: SiteStatistic, sparsity: float, pattern: Pattern) -> torch.Tensor:
        """The smallest weights; the activations play no part."""
        score = scores.magnitude(weight)
        if self.params.selection == "exact" or pattern.structured:
            return masks.prune_mask(score, weight, sparsity, pattern, scope=self.scope)
        return masks.up_to_rank(score, sparsity)
