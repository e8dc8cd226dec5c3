"""Pruner-Zero: a score of weights, gradients and input norms that a search over formulas found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure
from prunebench.formulas import expressions, masks
from prunebench.formulas.finite import is_finite
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import Statistics
    from prunebench.models.base import Site


class PrunerZero(Method):
    """Zero the weights of lowest score in each output row; the score multiplies squared weights and scaled gradients.
    For n:m the lowest of each group go. Each row has the same sparsity, and weights that stay are not changed.

        methods:
          squares_times_norms: {method: pruner_zero, params: {expression: "mul(sqr(W), X)"}}

    The score is `S = |W * W| * mms(G)`, where `G = sqrt(sum_s (dL_s / dW)^2)`, `L_s` is the loss of the unpruned model
    on calibration window s (rule `gradients`), and `mms(G) = (G - min G) / (max G - min G)` over the whole matrix.

    `expression` takes other formulas: nested calls on the matrices `W`, `G` and `X` (`X_ij = ||x_j||_2`, the norm of
    input j over all calibration tokens). Operations on two matrices: `add`, `sub`, `mul`, `div`. Operations on one:
    `sqr` and `pow` (both `x^2`), `neg`, `abs`, `log` (`log(|x| + 0.001)`), `exp` (of at most 100), `sqrt`
    (`sqrt(|x|)`), `tanh`, `skp` (`x`), and over the whole matrix `mms` and `zsn` (mean 0 and variance 1). The guards in
    `log`, `exp` and `sqrt` are those of the published code; in addition `mms` and `zsn` of equal numbers are 0. A score
    that is NaN or infinite, such as a quotient by 0, fails the cell.

    Cost: unless the formula has no `G`, a forward and a backward pass of the whole model for each window, with a
    float32 number for each weight in memory too; all cells of the same model, calibration and seed share them. Pruning
    itself costs as much as Wanda. Scores are in float64.

    Differences from the published code: it computes G on text from WikiText-2, the corpus it is tested on, in training
    mode and rounded to float16; here G comes from the calibration text of all methods, in evaluation mode and float32.
    Its `div` divides by the norm of the whole divisor, here by each number. It rounds the number of zeros per row down,
    here it is rounded to the nearest. The search itself is not repeated.
    """

    class Params(Parameters):
        """Parameters of Pruner-Zero."""

        expression: str = Field("mul(abs(mul(W, W)), mms(G))", description="the score, in the language above")

        @field_validator("expression")
        @classmethod
        def _spelled_in_one_way(cls, text: str) -> str:
            """The expression in its canonical spelling, so that other spaces re-run nothing."""
            return str(expressions.parse(text))

    name = "pruner_zero"
    title = "Pruner-Zero"
    reference = "Dong et al. 2024, Pruner-Zero: Evolving Symbolic Pruning Metric from Scratch for LLMs"
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM, Stat.GRADIENT})
    scope = "row"

    @property
    def needs_gradients(self) -> bool:
        """Whether the formula has the matrix G."""
        return "G" in expressions.parse(self.params.expression).matrices

    def prune_block(
        self, block: BlockView, statistics: Statistics, allocation: Mapping[str, float], pattern: Pattern
    ) -> BlockResult:
        """Zero the lowest scores of each row of every linear. Raises CellFailure if a score is not finite."""
        pruned = {}
        for site in block.sites:
            for linear in site.linears:
                weight, score = block.weight(linear), self._scores(block, statistics, site, linear)
                mask = masks.prune_mask(score, weight, allocation[linear], pattern, scope=self.scope)
                pruned[linear] = PrunedLinear(masks.zeroed(weight, mask))
        return BlockResult(pruned)

    def _scores(self, block: BlockView, statistics: Statistics, site: Site, linear: str) -> torch.Tensor:
        """The scores of a linear, float64 [out, in]. Raises CellFailure if one is not finite."""
        formula = expressions.parse(self.params.expression)
        values = {"W": block.weight(linear).double()}
        values["X"] = statistics[site.name].squared_norm.sqrt().expand_as(values["W"])
        if "G" in formula.matrices:
            values["G"] = block.gradient(linear).double()
        scores = expressions.evaluate(formula, values)
        if not is_finite(scores):
            raise CellFailure(f"{block.full_names[linear]}: {formula} is NaN or infinite for some weights")
        return scores
