"""SparseGPT: prune column by column, the columns still to come make up for the error."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from prunebench.engine.contract import Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.formulas import masks, obs
from prunebench.lazy import torch
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.statistics import SiteStatistic


class SparseGPT(Method):
    """Of each strip of 128 columns zero the weights of least `w_ij^2 / U_jj^2`, and update the columns to the right.

    `U` is upper triangular with `U^T U = (X X^T + lambda I)^-1`, where X holds the inputs of the linear on all
    calibration tokens and `lambda = damping * mean(diag(X X^T))`. When `w_ij` goes, every later weight of the row
    changes by `-(w_ij / U_jj) U_jk`. Scores see the updates of earlier strips. One sparsity per matrix, met exactly in
    every strip; rows may differ. For n:m the lowest of each group of a row go, chosen when the group's turn comes.
    Weights that are 0 before pruning go first and stay 0; where all inputs were 0, the smallest weights go.

    The cost is two forward passes over the calibration tokens; per input one Gram matrix and one factorisation, cubic
    in its width; per linear one sweep, out x in^2. Linears that share an input share its Gram matrix and its
    factorisation. All in float64, but for products of inputs, which are summed in float32 within a batch. Memory: one
    float64 matrix in x in for each input of the block.

    The published code computes in float32 and scales the Gram matrix by 2 / samples, which cancels. Instead of an exact
    number it takes a value of the strip as a threshold, so one weight too many plus all ties, it zeroes every weight of
    an input that was always 0, and it treats zeros as weights like all others: preset `released` does all three. (Such
    an input also counts as 1 in its damping; that is not repeated.) Here such weights are the first to go, as their
    loss says, but only as many as the sparsity asks for. Its option of true sequential order, in which o_proj and
    down_proj see the pruned weights before them, is off there by default, and not offered here.
    """

    class Params(Parameters):
        """Parameters of SparseGPT."""

        damping: float = Field(0.01, ge=0, description="lambda, as a fraction of the Hessian's mean diagonal")
        columns: PositiveInt = Field(128, description="width of the strips in which masks are chosen")
        selection: Literal["exact", "threshold"] = "exact"
        """as many weights of a strip as asked for, or all up to the one of that rank"""
        dead_inputs: Literal["kept", "zeroed"] = "kept"
        """what becomes of the weights of an input that was 0 on all calibration tokens, beyond those asked for"""

    name = "sparsegpt"
    title = "SparseGPT"
    reference = "Frantar & Alistarh 2023, SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "released": {"selection": "threshold", "dead_inputs": "zeroed"},
    }
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.HESSIAN})

    @property
    def exact(self) -> bool:
        """A threshold takes ties along, and dead inputs may be many."""
        return bool(self.params.selection == "exact" and self.params.dead_inputs == "kept")

    def prune_site(
        self,
        weights: Mapping[str, torch.Tensor],
        statistic: SiteStatistic,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        zeros: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, PrunedLinear]:
        """All linears of the site in one sweep, stacked along their outputs; masks are chosen for each alone.

        `zeros`, boolean [out, in], are places that must be zero; default: those that are.
        """
        stacked = torch.cat([weight.double() for weight in weights.values()]).T.contiguous()
        gone_before = self._gone_before(weights, zeros)
        hessian = statistic.hessian
        if self.params.dead_inputs == "zeroed":
            stacked[hessian.diagonal() == 0] = 0
        U = obs.inverse_factor(hessian, self.params.damping)
        sizes = [len(weight) for weight in weights.values()]
        select = partial(self._select, sizes=sizes, sparsities=list(sparsities.values()), pattern=pattern)
        block = pattern.group if pattern.structured else self.params.columns
        pruned, _ = obs.eliminate(stacked, U, block, select, gone_before)
        parts = pruned.T.split(sizes)
        return {name: PrunedLinear(part) for name, part in zip(weights, parts, strict=True)}

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """A strip of columns."""
        return out, self.params.columns

    def _gone_before(
        self, weights: Mapping[str, torch.Tensor], zeros: Mapping[str, torch.Tensor] | None
    ) -> torch.Tensor | None:
        """The zeros of all linears, boolean [in, out], which updates must not fill; None if there are none.

        The published code fills them: where it is repeated, they are weights like all others.
        """
        if self.params.selection == "threshold":
            return None
        if zeros is None:
            zeros = {name: weight == 0 for name, weight in weights.items() if not weight.all()}
        if not any(of.any() for of in zeros.values()):
            return None
        none = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        return torch.cat(list((none | dict(zeros)).values())).T.contiguous()

    def _select(
        self,
        weight: torch.Tensor,
        loss: torch.Tensor,
        *,
        sizes: list[int],
        sparsities: list[float],
        pattern: Pattern,
    ) -> torch.Tensor:
        """The least losses of each linear in the strip [columns, out], or of each row's group."""
        rows = loss.T.contiguous()
        if pattern.structured:
            return masks.lowest_of_groups(rows, pattern).T
        choose = masks.up_to_rank if self.params.selection == "threshold" else masks.lowest_of_matrix
        return torch.cat([choose(part, s) for part, s in zip(rows.split(sizes), sparsities, strict=True)]).T
