"""ATP: sparsity grows with depth, by the same amount from block to block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from prunebench.allocators.base import Allocation, Allocator
from prunebench.config.values import Sparsity
from prunebench.errors import CellFailure
from prunebench.formulas.budget import fit
from prunebench.plugin import Parameters, Search

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Atp(Allocator):
    """Give each block one sparsity that grows linearly with depth, so that early blocks stay denser.
    It needs neither data nor the weights, and costs nothing.

        allocators:
          atp_steep: {allocator: atp, params: {slope: 0.02}}

    All linears of block b = 0 ... L - 1 get `s_b = s + slope (b - (L - 1) / 2)`. These are in [0, 1] as long as
    `slope <= min(2 s, 2 (1 - s)) / (L - 1)`; with a larger slope they are cut to [0, 1], and the other blocks make up
    for it. The default slope is half of that largest one, the middle of the range that the paper searches. Blocks of
    different size share the budget by their number of weights.

    The published code tries all slopes in steps of 0.002 and keeps the one with the lowest perplexity on the same text
    that its tables report. Here a search tries the same slopes on the tuning split (`space: slopes`, `strategy: grid`),
    and `search` names it.
    """

    class Params(Parameters):
        """Parameters of ATP."""

        slope: float | None = Field(
            None,
            ge=0,
            description="the growth of sparsity per block; default: half of the largest that needs no cut",
        )
        search: dict[Sparsity, str] = Field(
            default_factory=dict, description="the search of the catalog that found the slope, for each sparsity"
        )

        @model_validator(mode="after")
        def _agree(self) -> Self:
            if self.search and self.slope is not None:
                raise ValueError("'search' finds the slope: leave out 'slope'")
            return self

    name = "atp"
    title = "ATP"
    reference = "Huang et al. 2025, Determining Layer-Wise Sparsity for Large Language Models, arXiv 2502.14770"

    space = "slopes"

    @property
    def searches(self) -> tuple[Search, ...]:
        """The searches of all sparsities."""
        return tuple(map(Search, self.params.search.values()))

    def search(self, sparsity: str) -> Search | None:
        """The search for `sparsity` (two decimals), or None."""
        name = self.params.search.get(sparsity)
        return Search(name) if name else None

    def with_candidate(self, candidate: str) -> Atp:
        """This allocator with the slope `candidate` (text) that its search found."""
        return Atp(self.params.model_copy(update={"slope": float(candidate)}))

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the number of blocks. CellFailure if `sparsity` has no search but others do."""
        if self.params.search and self.params.slope is None:
            raise CellFailure(f"no search of slopes for a sparsity of {sparsity:.2f}: add one under 'search'")
        last = len(model.blocks) - 1
        slope = largest_slope(sparsity, len(model.blocks)) / 2 if self.params.slope is None else self.params.slope
        wishes = {
            linear: sparsity + slope * (block - last / 2)
            for block, linears in enumerate(model.blocks)
            for linear in linears
        }
        return fit(wishes, model.sizes, sparsity)


def largest_slope(sparsity: float, blocks: int) -> float:
    """The steepest progression that stays in [0, 1]: min(2 s, 2 (1 - s)) / (L - 1); 0 for a single block."""
    return 2 * min(sparsity, 1 - sparsity) / (blocks - 1) if blocks > 1 else 0.0
