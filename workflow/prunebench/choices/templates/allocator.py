"""Template: one line that says who stays denser. (This file works as it is: change it step by step.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from prunebench.allocators.base import Allocation, Allocator
from prunebench.formulas.budget import fit
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Template(Allocator):
    """Block b of n gets the sparsity s + slope (b / (n - 1) - 1/2): with a positive slope, early blocks stay denser.

    Write the equation of the paper here, with the names of its symbols: `prunebench allocators template` prints this.
    """

    class Params(Parameters):
        """Parameters that a config may set under `params`. The defaults are what the paper states (preset `paper`)."""

        slope: float = Field(0.1, ge=-1, le=1, description="sparsity of the last block minus that of the first")

    name = "template"  # the name of the file, and the name in configs
    title = "Template"  # the name in tables
    reference = ""  # authors, year, title, equation
    # It is {"calibration", "seed"} if the allocator looks at norms of inputs (`model.squared_norm`): see owl.py.
    uses: ClassVar[frozenset[str]] = frozenset()

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Return the fraction of zeros of every linear; `model.blocks` lists linears, `sizes` their shapes."""
        last = max(1, len(model.blocks) - 1)
        wishes = {
            linear: sparsity + self.params.slope * (block / last - 0.5)
            for block, linears in enumerate(model.blocks)
            for linear in linears
        }
        # `fit` brings the wishes into [0, 1] and onto the budget: their mean, weighted by size, becomes `sparsity`.
        return fit(wishes, model.sizes, sparsity)
