"""RIA: magnitudes relative to the row and the column of a weight, times a power of input norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from prunebench.engine.stat import Stat
from prunebench.formulas import masks, scores
from prunebench.methods.base import MaskingMethod
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.statistics import SiteStatistic


class RIA(MaskingMethod):
    """Zero the weights of each output row that are small relative to their row and column and to their input's norm.
    Each row has the same sparsity; for n:m the lowest of each group go. Weights that stay are not changed.

        methods:
          ria_without_inputs: {method: ria, params: {power: 0}}

    The score is `S_ij = (|W_ij| / sum_k |W_ik| + |W_ij| / sum_k |W_kj|) ||x_j||_2^a`, where `x_j` is the j-th input of
    the linear over all calibration tokens and `a` is `power`. No input or output loses all its weights only because
    they are small. A row or column of zeros adds 0. The cost is that of Wanda, two forward passes over the calibration
    tokens, and sums of rows and columns. The channel permutation that the paper puts before n:m is not implemented.

    The published code averages `||x_j||^2` over samples, which changes no ranking. By default it ranks all weights of a
    matrix together, takes the value at rank int(numel * s) as a threshold and zeroes everything up to and including it,
    so one weight too many plus all ties: preset `released`. For n:m the two agree.
    """

    class Params(Parameters):
        """Parameters of RIA."""

        power: float = Field(0.5, ge=0, description="the exponent a of the input norms; 0 ignores the inputs")
        selection: Literal["row", "threshold"] = "row"
        """row: the lowest of each row; threshold: all weights of the matrix up to the value of that rank"""

    name = "ria"
    title = "RIA"
    reference = "Zhang et al. 2024, Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"selection": "threshold"}}
    uses: ClassVar[frozenset[str]] = MaskingMethod.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM})

    @property
    def exact(self) -> bool:
        """Whether the number of zeros is exact; a threshold prunes ties too."""
        return bool(self.params.selection == "row")

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """The sparsity is met in each row, or with a threshold in the whole matrix."""
        return (1 if self.params.selection == "row" else out, width)

    def mask(self, weight: torch.Tensor, statistic: SiteStatistic, sparsity: float, pattern: Pattern) -> torch.Tensor:
        """Mask of the lowest scores."""
        score = scores.ria(weight, statistic.squared_norm, self.params.power)
        if self.params.selection == "row" or pattern.structured:
            return masks.prune_mask(score, weight, sparsity, pattern, scope="row")
        return masks.up_to_rank(score, sparsity)
