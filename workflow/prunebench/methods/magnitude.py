"""Magnitude pruning: drop the smallest weights of each matrix. Needs no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prunebench.methods import masks, scores
from prunebench.methods.base import Method, PrunedLinear
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.statistics import SiteStatistic


class Magnitude(Method):
    """Zero the lowest |W| of each matrix; for n:m the lowest of each group. No weight update.

    The code published with Wanda and SparseGPT takes the value at rank int(numel * s) as a threshold and zeroes
    everything up to and including it, so one weight too many plus all ties: preset `released`.
    """

    class Params(Parameters):
        """Parameters of magnitude pruning."""

        selection: Literal["exact", "threshold"] = "exact"

    name = "magnitude"
    title = "Magnitude"
    reference = "Han et al. 2015; per-matrix threshold as in Sun et al. 2024"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"selection": "threshold"}}

    def prune_site(
        self,
        weights: Mapping[str, torch.Tensor],
        statistic: SiteStatistic,
        sparsities: Mapping[str, float],
        pattern: Pattern,
    ) -> dict[str, PrunedLinear]:
        """Each linear by itself: the site's activations play no part."""
        return {
            linear: PrunedLinear(weight.masked_fill(self._mask(weight, sparsities[linear], pattern), 0))
            for linear, weight in weights.items()
        }

    def _mask(self, weight: torch.Tensor, sparsity: float, pattern: Pattern) -> torch.Tensor:
        score = scores.magnitude(weight)
        if self.params.selection == "exact" or pattern.structured:
            return masks.prune_mask(score, sparsity, pattern, scope="matrix")
        rank = min(int(score.numel() * sparsity), score.numel() - 1)
        return score <= score.flatten().kthvalue(rank + 1).values
