"""Pruner-Zero: a score that was found by a search over formulas of weights, gradients and input norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure
from prunebench.formulas import expressions, masks
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import Statistics
    from prunebench.models.base import Site


class PrunerZero(Method):
    """Zero the lowest `S = |W * W| * mms(G)` of each output row; for n:m the lowest of each group. No weight update.

    `G = sqrt(sum_s (dL_s / dW)^2)`, where `L_s` is the loss of the unpruned model on calibration window s (rule
    `gradients`), and `mms(G) = (G - min G) / (max G - min G)` over the whole matrix. Each row has the same sparsity.

    Other formulas go into `expression`: nested calls on the matrices `W`, `G` and `X` (`X_ij = ||x_j||_2`, the norm of
    input j over all calibration tokens) of the operations of the published search, elementwise but for the last two:
    `add`, `sub`, `mul`, `div` of two matrices; `sqr` and `pow` (both `x^2`), `neg`, `abs`, `log` (`log(|x| + 0.001)`),
    `exp` (of at most 100), `sqrt` (`sqrt(|x|)`), `tanh`, `skp` (`x`), `mms`, `zsn` (mean 0 and variance 1) of one. The
    guards inside `log`, `exp` and `sqrt` are those of the published code, for which its formulas were chosen. The one
    guard added: `mms` and `zsn` of equal numbers are 0. Nothing else is: where a score is NaN or infinite, after a
    quotient by 0, the cell fails.

    The cost is a forward and a backward pass of the whole model for each window, shared by all cells of the same
    model, calibration and seed; a formula without `G` does without. The model has to be in memory at once, with a
    float32 number for each weight. Pruning itself then costs as much as Wanda; the input norms are collected for any
    formula, which also tells how far the outputs move. Scores are in float64.

    The published code computes G on text from WikiText-2, the corpus it is tested on, in training mode and rounded to
    float16; here on the calibration text of all methods, as the model is evaluated, in float32. It divides by the
    norm of the whole divisor where it says `div`; here by each number. It cuts the number of zeros per row down to a
    whole number; here it is rounded to the nearest. The search itself is not repeated.
    """

    class Params(Parameters):
        """Parameters of Pruner-Zero."""

        expression: str = Field("mul(abs(mul(W, W)), mms(G))", description="the score, in the language above")

        @field_validator("expression")
        @classmethod
        def _spelled_in_one_way(cls, text: str) -> str:
            """As the printer spells it: spaces must not run anything again."""
            return str(expressions.parse(text))

    name = "pruner_zero"
    title = "Pruner-Zero"
    reference = "Dong et al. 2024, Pruner-Zero: Evolving Symbolic Pruning Metric from Scratch for LLMs"
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM, Stat.GRADIENT})
    scope = "row"

    @property
    def needs_gradients(self) -> bool:
        """Only if the formula mentions them."""
        return "G" in expressions.parse(self.params.expression).matrices

    def prune_block(
        self, block: BlockView, statistics: Statistics, allocation: Mapping[str, float], pattern: Pattern
    ) -> BlockResult:
        """The lowest scores of each row of every linear."""
        pruned = {}
        for site in block.sites:
            for linear in site.linears:
                weight, score = block.weight(linear), self._scores(block, statistics, site, linear)
                mask = masks.prune_mask(score, weight, allocation[linear], pattern, scope=self.scope)
                pruned[linear] = PrunedLinear(masks.zeroed(weight, mask))
        return BlockResult(pruned)

    def _scores(self, block: BlockView, statistics: Statistics, site: Site, linear: str) -> torch.Tensor:
        """Float64 [out, in]; CellFailure if one is not finite."""
        formula = expressions.parse(self.params.expression)
        values = {"W": block.weight(linear).double()}
        values["X"] = statistics[site.name].squared_norm.sqrt().expand_as(values["W"])
        if "G" in formula.matrices:
            values["G"] = block.gradient(linear).double()
        scores = expressions.evaluate(formula, values)
        if not scores.isfinite().all():
            raise CellFailure(f"{block.full_names[linear]}: {formula} is NaN or infinite for some weights")
        return scores
