"""DSA: a function of a block's Wanda scores, found by search, says how sparse the block is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from prunebench.allocators.base import Allocation, Allocator
from prunebench.dsa import language, released
from prunebench.dsa.importance import Importances
from prunebench.dsa.operations import Invalid
from prunebench.errors import CellFailure
from prunebench.formulas.budget import spread_over_blocks
from prunebench.plugin import Parameters, Search

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


PAPER = "W:(LOG,ABSLOG)-(GEOMETRIC_MEAN)-(COS,EXP)"
"""The best function by the paper's section 6."""
README = "W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)"
"""The one of the published code's README."""


class Dsa(Allocator):
    """One sparsity per block, from an importance V_b that `function` makes of the block's Wanda scores S.

    A function is written `W:(PRE,PRE)-(REDUCE)-(TRANSFORM,POST)-(LAMBDA)`. PRE, none to two of ABS, LOG, ABSLOG, POW,
    EXP, NORMALIZE, SIGMOID, TANH and MMS (to [0, 1]), changes scores. REDUCE is a statistic of all scores of the block
    (MEAN, VAR, STD, GEOMETRIC_MEAN, L1_NORM, FROBENIUS_NORM, ENTROPY) or of each linear's Gram matrix (GRAM, CORREF,
    DIAGONAL, DETERMINANT, RANK, SLOGDET), averaged. TRANSFORM and POST are of SIN, COS, TAN, ASIN, ACOS, ATAN, EXP,
    LOG, ABS, SIGMOID, TANH and SOFTPLUS; NO_OP stands for nothing in all of them. With V_b moved to [0, 1], the block
    of the *largest* V_b is the sparsest, and it and the densest are 2 lambda apart; lambda is LAMBDA percent. The mean
    is weighted by parameters, and what leaves [0, 1] is cut off and made up for elsewhere, so the budget always holds.

    Functions that could give equal importances only, whatever the model, are refused when the config is read. One that
    does so on a model, or gives NaN or infinity, fails the cell. Most functions are not indifferent to the scale of
    the scores, whose norms are sums over the calibration tokens: they depend on how many tokens there are.

    The cost is one forward pass of the dense model over the calibration tokens, shared by all allocators that look at
    data, and a few passes over the scores, of which one block is in memory at a time. A matrix reduction multiplies as
    a forward pass in float64 does, over as many tokens as the smaller side of a linear.

    The published code (preset `released`) ignores LAMBDA for a lambda of 0.08 and cannot compute matrix reductions. It
    turns NaN into 0 and infinity into -1, and two of the functions it is known for rest on that: its README's
    `W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)` keeps the blocks densest for which asin is undefined, and the paper's best,
    `W:(LOG,ABSLOG)-(GEOMETRIC_MEAN)-(COS,EXP)`, is a product of millions of numbers, and so the same for all blocks.
    By default logarithms are of magnitudes, ABSLOG is the magnitude of a logarithm as in the paper, geometric means are
    taken through logarithms, asin and acos see what is beyond [-1, 1] as the nearer end, and L1_NORM is a sum, as in
    the paper, not a mean. The published code sets sparsities below 0 to 1%, which breaks the budget; that is not
    repeated. It has no search for functions.
    """

    class Params(Parameters):
        """Parameters of DSA."""

        released: bool = Field(False, description="compute as the published code, NaN and all")
        function: str = Field(PAPER, description="such as W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)")
        search: str | None = Field(None, description="take the function that this search of the catalog found")
        search_seed: int | None = Field(None, ge=0, description="that of one of its seeds; null: the best")
        place: int = Field(
            1,
            ge=1,
            description="of all that this seed tried: 1 is the best, 2 the next",
            exclude_if=lambda place: place == 1,
        )
        spread: float | None = Field(None, ge=0, description="lambda; null: LAMBDA percent, 0.08 without one")

        @field_validator("function")
        @classmethod
        def _can_rank_blocks(cls, text: str, info: ValidationInfo) -> str:
            function = language.parse(text)
            reason = (released if info.data.get("released") else language).reject(function)
            if reason:
                raise ValueError(f"{text!r} cannot rank blocks: {reason}")
            return str(function)

        @model_validator(mode="after")
        def _agree(self) -> Self:
            if self.search and (self.released or self.function != PAPER):
                raise ValueError("'search' finds a function, as we compute it: leave out 'function' and 'released'")
            if self.search_seed is not None and not self.search:
                raise ValueError("'search_seed' is one of a 'search': name that too")
            if self.place > 1 and self.search_seed is None:
                raise ValueError("'place' is among what one seed tried: name a 'search_seed' too")
            return self

    name = "dsa"
    title = "DSA"
    reference = "Li et al. 2024, Discovering Sparsity Allocation for Layer-wise Pruning of Large Language Models"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"released": True, "function": README}}
    uses: ClassVar[frozenset[str]] = frozenset({"calibration", "seed"})

    space = "functions"

    @property
    def searches(self) -> tuple[Search, ...]:
        """That of the parameters."""
        return (Search(self.params.search, self.params.search_seed),) if self.params.search else ()

    def search(self, sparsity: str) -> Search | None:
        """The same at every sparsity."""
        return next(iter(self.searches), None)

    @property
    def place(self) -> int:
        """That of the parameters."""
        return int(self.params.place)

    def found(self, candidate: str) -> Dsa:
        """With the function that was found."""
        return Dsa(self.params.model_copy(update={"function": candidate}))

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """From the dense model's weights and site norms."""
        try:
            return self.shares(Importances(model), model, sparsity)
        except Invalid as reason:
            function = self.params.function
            raise CellFailure(f"{function} cannot rank the blocks of this model: {reason}") from None

    def shares(self, importances: Importances, model: Anatomy, sparsity: float) -> Allocation:
        """The same from importances of `model` that others use too. Raises Invalid."""
        values = importances.values(language.parse(self.params.function), self.params.released)
        # The larger the importance, the sparser: the opposite of OWL's outliers.
        return spread_over_blocks([-value for value in values], model.blocks, model.sizes, self._spread, sparsity)

    @property
    def _spread(self) -> float:
        """Lambda."""
        if self.params.spread is not None:
            return float(self.params.spread)
        written = None if self.params.released else language.parse(self.params.function).spread
        return (language.DEFAULT_SPREAD if written is None else written) / 100
