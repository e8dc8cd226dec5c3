"""OWL: blocks with more outliers among their Wanda scores stay denser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat

from prunebench.allocators.base import Allocation, Allocator
from prunebench.formulas import scores
from prunebench.formulas.budget import spread_over_blocks
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Owl(Allocator):
    """Give each block one sparsity, from its share of outliers: Wanda scores above M times the block's mean score.
    A block with more outliers stays denser.

        allocators:
          owl_wide: {allocator: owl, params: {M: 5, spread: 0.15}}

    D_b is the percentage of outliers among the scores `|W_ij| ||x_j||_2` of all linears of block b in the dense model.
    With `r_b = 2 lambda (D_b - min D) / (max D - min D)`, all linears of block b get the sparsity `s - r_b + mean(r)`,
    so that the sparsest and the densest block are 2 lambda apart (`spread` is lambda). The mean of r is weighted by
    parameters. Sparsities are cut to [0, 1], and the other blocks make up for it. The cost is one forward pass of the
    dense model over the calibration tokens, shared by all allocators that read data, and two passes over the scores.

    The published code takes the plain mean over blocks, which is the same for blocks of one size, and raises
    sparsities below 0 to 1%, which breaks the budget; neither is repeated. Its README takes M = 5, the default of its
    arguments is 3 (preset `released`). Its n:m form, which gives blocks different n, is not implemented.
    """

    class Params(Parameters):
        """Parameters of OWL."""

        M: PositiveFloat = Field(5, description="an outlier is a score above M times the mean")
        spread: float = Field(0.08, ge=0, description="lambda, half the distance of the end blocks")

    name = "owl"
    title = "OWL"
    reference = "Yin et al. 2024, Outlier Weighed Layerwise Sparsity, eq. 1"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"M": 3}}
    uses: ClassVar[frozenset[str]] = frozenset({"calibration", "seed"})

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the dense model's weights and norms of inputs."""
        outliers = [outlier_share(model, linears, self.params.M) for linears in model.blocks]
        return spread_over_blocks(outliers, model.blocks, model.sizes, self.params.spread, sparsity)


def outlier_share(model: Anatomy, linears: tuple[str, ...], M: float) -> float:
    """The percentage of the Wanda scores of `linears`, taken together, that exceed M times their mean."""
    total = sum(model.sizes[linear][0] * model.sizes[linear][1] for linear in linears)
    # Scores are computed twice, so that only one matrix of them is in memory.
    mean = sum(float(_scores(model, linear).sum()) for linear in linears) / total
    above = sum(int((_scores(model, linear) > M * mean).sum()) for linear in linears)
    return 100 * above / total


def _scores(model: Anatomy, linear: str) -> Any:
    return scores.wanda(model.weight(linear), model.squared_norm(linear))
