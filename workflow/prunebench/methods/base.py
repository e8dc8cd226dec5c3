"""The contract of a pruning method.

A method turns the weights of one block into pruned weights. It defines `mask` (MaskingMethod) if it only chooses which
weights go, `prune_site` if it also changes other weights, and `prune_block` if it looks at several sites at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prunebench.engine.contract import Method, PrunedLinear
from prunebench.errors import PluginMistake
from prunebench.formulas import masks
from prunebench.patterns import Pattern

if TYPE_CHECKING:
    import torch

    from prunebench.engine.statistics import SiteStatistic


class MaskingMethod(Method):
    """Base of methods that only choose which weights go, and leave the others unchanged."""

    def mask(self, weight: torch.Tensor, statistic: SiteStatistic, sparsity: float, pattern: Pattern) -> torch.Tensor:
        """Mask [out, in], True where `weight` [out, in] becomes zero; `statistic` describes the linear's inputs."""
        raise PluginMistake(f"method {self.name!r} does not define mask")

    def prune_site(
        self,
        weights: Mapping[str, torch.Tensor],
        statistic: SiteStatistic,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        zeros: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, PrunedLinear]:
        """Prune each linear by itself. `zeros`, boolean [out, in], must become zero; the default is present zeros."""
        if zeros is not None:
            weights = {name: masks.zeroed(weight, zeros[name]) for name, weight in weights.items()}
        gone = {name: self.mask(weight, statistic, sparsities[name], pattern) for name, weight in weights.items()}
        return {name: PrunedLinear(masks.zeroed(weights[name], mask)) for name, mask in gone.items()}
