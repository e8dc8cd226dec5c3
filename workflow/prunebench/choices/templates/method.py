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

    name = "template"  # as the file, and as configs call it
    title = "Template"  # as tables print it
    reference = ""  # authors, year, title, equation
    # The axes that can change its result. A method that looks at no data leaves out calibration (and seed, unless it
    # draws at random); its `statistic` is then empty.
    uses: ClassVar[frozenset[str]] = MaskingMethod.uses | {"calibration", "seed"}
    # What is to be collected: SITE_NORM (norms of each input's channels), HESSIAN (their Gram matrix), GRADIENT (of the
    # loss by each weight, for `prune_block`: see pruner_zero.py).
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM})
    # Where zeros are counted: of each row, or ("matrix") of all rows of a matrix together.
    scope = "row"

    def mask(self, weight: torch.Tensor, statistic: SiteStatistic, sparsity: float, pattern: Pattern) -> torch.Tensor:
        """True where the weight [out, in] goes. `statistic` is of its input: `squared_norm` is float64 [in]."""
        # The score: change it here. In float64, so that the choice depends on the data and not on rounding.
        score = weight.double().abs() * statistic.squared_norm.to(weight.device) ** (self.params.power / 2)
        # Exactly as many zeros as asked for, n:m included; what is zero already goes first.
        return masks.prune_mask(score, weight, sparsity, pattern, scope=self.scope)

    # A method that also changes the weights it keeps writes `prune_site` instead of `mask` (see sparsegpt.py); one
    # that sees a whole block at once writes `prune_block`.
