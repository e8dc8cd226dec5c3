"""DLP: blocks whose typical Wanda score is low stay denser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from prunebench.allocators.base import Allocation, Allocator
from prunebench.formulas import scores
from prunebench.formulas.budget import spread_over_blocks
from prunebench.formulas.thresholds import Scores, at_ranks
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.anatomy import Anatomy


class Dlp(Allocator):
    """Give each block one sparsity, from the median of its Wanda scores.
    The lower the median, the denser the block stays.

        allocators:
          dlp_at_60: {allocator: dlp, params: {alpha: 0.1}}

    V_b is the exact median of the scores `|W_ij| ||x_j||_2` of all linears of block b in the dense model (of an even
    number, the mean of the two in the middle). With `I_b = 1 - V_b / sum(V)` and
    `r_b = 2 alpha (I_b - min I) / (max I - min I)`, all linears of block b get the sparsity `s - r_b + mean(r)`, as in
    OWL. The mean of r is weighted by parameters. Sparsities are cut to [0, 1], and the other blocks make up for it. The
    cost is one forward pass of the dense model over the calibration tokens, shared by all allocators that read data,
    and two passes over the scores.

    The paper says median; the published code takes the mean for unstructured sparsity (preset `released`) and the
    median, the lower of the two in the middle, only for n:m. Its n:m form, which gives blocks different n, is not
    implemented. alpha = 0.15 is for 70%; scripts of others use 0.10 at 60% and 0.04 at 50%.
    """

    class Params(Parameters):
        """Parameters of DLP."""

        statistic: Literal["median", "mean"] = "median"
        """which statistic of the block's scores V_b is"""
        alpha: float = Field(0.15, ge=0, description="half the distance between the sparsest and the densest block")

    name = "dlp"
    title = "DLP"
    reference = "Chen et al. 2025, DLP: Dynamic Layerwise Pruning in Large Language Models"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"statistic": "mean"}}
    uses: ClassVar[frozenset[str]] = frozenset({"calibration", "seed"})

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the dense model's weights and norms of inputs."""

        def score(linear: str) -> torch.Tensor:
            return scores.wanda(model.weight(linear), model.squared_norm(linear))

        typical = {"median": median, "mean": mean}[self.params.statistic]
        # I_b scaled to [0, 1] equals -V_b scaled to [0, 1], as the sum cancels.
        values = [-typical(score, {linear: model.sizes[linear] for linear in linears}) for linears in model.blocks]
        return spread_over_blocks(values, model.blocks, model.sizes, self.params.alpha, sparsity)


def median(score: Scores, sizes: dict[str, tuple[int, int]]) -> float:
    """The median of the scores of all linears in `sizes` together; CellFailure if a score is not finite."""
    total = sum(out * width for out, width in sizes.values())
    return sum(at_ranks(score, list(sizes), (total - 1) // 2, total // 2)) / 2


def mean(score: Scores, sizes: dict[str, tuple[int, int]]) -> float:
    """The mean of the scores of all linears in `sizes` together."""
    total = sum(out * width for out, width in sizes.values())
    return sum(float(score(linear).sum()) for linear in sizes) / total
