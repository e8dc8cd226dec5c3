"""Template: one line that says how it chooses. (This file works as it is: change it step by step.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from prunebench.engine.stat import Stat
from prunebench.formulas import masks
from prunebench.methods.base import MaskingMethod
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.statistics import SiteStatistic


class Template(MaskingMethod):
    """Zero the lowest S_ij = |W_ij| ||x_j||^power of each output row i; for n:m the lowest of each group.

    Write the equation of the paper here, with the names of its symbols: `prunebench methods template` prints this.
    """

    class Params(Parameters):
        """Parameters that a config may set under `params`. The defaults are what the paper states (preset `paper`)."""

        power: float = Field(1.0, ge=0, description="0 ignores the inputs (magnitude), 1 is Wanda")

    name = "template"  # the name of the file, and the name in configs
    title = "Template"  # the name in tables
    reference = ""  # authors, year, title, equation
    # These axes can change its result. A method that looks at no data leaves out calibration (and seed, unless it draws
    # at random); its `statistic` is then empty.
    uses: ClassVar[frozenset[str]] = MaskingMethod.uses | {"calibration", "seed"}
    # The engine collects SITE_NORM (norms of input channels), HESSIAN (the Gram matrix of the inputs), or GRADIENT (the
    # gradient of the loss for each weight, which `prune_block` reads: see pruner_zero.py).
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM})
    # Zeros are counted in each row, or (with "matrix") in all rows of a matrix together.
    scope = "row"

    def mask(self, weight: torch.Tensor, statistic: SiteStatistic, sparsity: float, pattern: Pattern) -> torch.Tensor:
        """Return a mask, true where `weight` [out, in] becomes zero. `statistic.squared_norm` is float64 [in]."""
        # Change the score in this line. It is float64, so that the choice depends on the data and not on rounding.
        score = weight.double().abs() * statistic.squared_norm.to(weight.device) ** (self.params.power / 2)
        # The mask has exactly as many zeros as asked for, also for n:m. Weights that are zero already go first.
        return masks.prune_mask(score, weight, sparsity, pattern, scope=self.scope)

    # A method that also changes the weights it keeps writes `prune_site` instead of `mask` (see sparsegpt.py); one
    # that sees a whole block at once writes `prune_block`.
