"""DSA: a function of a block's Wanda scores, which a search found, says how sparse the block is."""

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
"""The best function according to the paper's section 6."""
README = "W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)"
"""The function in the README of the published code."""


class Dsa(Allocator):
    """Give each block one sparsity, from an importance V_b that `function` computes from the block's Wanda scores.
    The block with the *largest* V_b is the sparsest.

        allocators:
          dsa_readme: {allocator: dsa, params: {function: "W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)"}}

    A function is written `W:(PRE,PRE)-(REDUCE)-(TRANSFORM,POST)-(LAMBDA)`. PRE is none to two of ABS, LOG, ABSLOG, POW,
    EXP, NORMALIZE, SIGMOID, TANH and MMS (to [0, 1]) and changes scores. REDUCE is a statistic of all scores of the
    block (MEAN, VAR, STD, GEOMETRIC_MEAN, L1_NORM, FROBENIUS_NORM, ENTROPY) or of each linear's Gram matrix (GRAM,
    CORREF, DIAGONAL, DETERMINANT, RANK, SLOGDET), averaged. TRANSFORM and POST are among SIN, COS, TAN, ASIN, ACOS,
    ATAN, EXP, LOG, ABS, SIGMOID, TANH and SOFTPLUS. NO_OP does nothing in any of them. V_b is scaled to [0, 1]; the
    sparsest and the densest block are 2 lambda apart, and lambda is LAMBDA percent. The mean is weighted by parameters.
    Sparsities are cut to [0, 1], and the other blocks make up for it.

    A function that gives equal importances whatever the model is refused when the config is read. A function that does
    so on a model, or gives NaN or infinity, fails the cell. Most functions depend on the scale of the scores, and so on
    the number of calibration tokens, over which the norms are sums. The cost is one forward pass of the dense model,
    shared by all allocators that read data, and a few passes over the scores, with one block in memory at a time. A
    matrix reduction costs as much as a forward pass in float64 over as many tokens as the smaller side of a linear.

    The published code (preset `released`) always uses a lambda of 0.08 and cannot compute matrix reductions. It turns
    NaN into 0 and infinity into -1, and two of its best known functions depend on that: its README's
    `W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)` keeps those blocks densest for which asin is undefined, and the paper's best,
    `W:(LOG,ABSLOG)-(GEOMETRIC_MEAN)-(COS,EXP)`, is a product of millions of numbers, the same for all blocks. By
    default logarithms are of magnitudes, ABSLOG is the magnitude of a logarithm as in the paper, geometric means are
    computed through logarithms, arguments of asin and acos are cut to [-1, 1], and L1_NORM is a sum, as in the paper,
    not a mean. The published code sets sparsities below 0 to 1%, which breaks the budget and is not repeated. It has no
    search for functions.
    """

    class Params(Parameters):
        """Parameters of DSA."""

        released: bool = Field(False, description="compute like the published code")
        function: str = Field(PAPER, description="the function of a block's scores")
        search: str | None = Field(None, description="a search of the catalog, whose function is used")
        search_seed: int | None = Field(None, ge=0, description="the seed of the search; null: the best one")
        place: int = Field(
            1,
            ge=1,
            description="the rank of the function among those that the seed tried; 1 is the best",
            exclude_if=lambda place: place == 1,
        )
        spread: float | None = Field(None, ge=0, description="lambda; null: LAMBDA percent, or 0.08 without")

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
                raise ValueError("'search' finds a function, computed our way: leave out 'function' and 'released'")
            if self.search_seed is not None and not self.search:
                raise ValueError("'search_seed' is a seed of a 'search': name that search too")
            if self.place > 1 and self.search_seed is None:
                raise ValueError("'place' is a rank among the functions of one seed: name a 'search_seed' too")
            return self

    name = "dsa"
    title = "DSA"
    reference = "Li et al. 2024, Discovering Sparsity Allocation for Layer-wise Pruning of Large Language Models"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"released": True, "function": README}}
    uses: ClassVar[frozenset[str]] = frozenset({"calibration", "seed"})

    space = "functions"

    @property
    def searches(self) -> tuple[Search, ...]:
        """The search that the parameters name, if they name one."""
        return (Search(self.params.search, self.params.search_seed),) if self.params.search else ()

    def search(self, sparsity: str) -> Search | None:
        """The search that the parameters name, which holds for every sparsity, or None."""
        return next(iter(self.searches), None)

    @property
    def place(self) -> int:
        """The rank of the candidate that is taken; 1 is the best."""
        return int(self.params.place)

    def with_candidate(self, candidate: str) -> Dsa:
        """This allocator with the function `candidate` (text) that its search found."""
        return Dsa(self.params.model_copy(update={"function": candidate}))

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the dense model. CellFailure if the function cannot rank its blocks."""
        try:
            return self.shares(Importances(model), model, sparsity)
        except Invalid as reason:
            function = self.params.function
            raise CellFailure(f"{function} cannot rank the blocks of this model: {reason}") from None

    def shares(self, importances: Importances, model: Anatomy, sparsity: float) -> Allocation:
        """`allocate` with a shared cache of importances, for searches. Invalid if the function cannot rank blocks."""
        values = importances.values(language.parse(self.params.function), self.params.released)
        # A larger importance means a sparser block: the opposite of OWL's outliers.
        return spread_over_blocks([-value for value in values], model.blocks, model.sizes, self._spread, sparsity)

    @property
    def _spread(self) -> float:
        """Lambda, as a fraction."""
        if self.params.spread is not None:
            return float(self.params.spread)
        written = None if self.params.released else language.parse(self.params.function).spread
        return (language.DEFAULT_SPREAD if written is None else written) / 100
