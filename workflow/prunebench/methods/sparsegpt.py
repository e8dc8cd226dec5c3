"""SparseGPT: prune column by column and let the later columns make up for the error. The maths is in `formulas.obs`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from prunebench.engine.contract import Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.formulas import masks, obs, order
from prunebench.lazy import torch
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.statistics import SiteStatistic
    from prunebench.estimate.costs import Cost, Pruning

SINGLE_DAMPING = 3e-3
"""The least damping with float32, as a fraction of the mean diagonal. With less, some weights have other ranks."""
SolveDType = Literal["float64", "float32"]
SOLVE_DTYPE: Any = Field(
    "float64",
    # The spec of a cell has this key only if it is not the default.
    exclude_if=lambda dtype: dtype == "float64",
    description="dtype of factors, solutions and sweeps; float32 is for consumer GPUs, whose float64 is slow",
)


def check_damping(name: str, damping: float | None, solve_dtype: str) -> None:
    """Raise ValueError if the parameter `name` is too small for `solve_dtype`. None stands for no damping at all."""
    if solve_dtype == "float32" and (damping or 0.0) < SINGLE_DAMPING:
        raise ValueError(
            f"solve_dtype: float32 needs {name!r} to be at least {SINGLE_DAMPING:g}, as it has too few digits for "
            "inputs that nearly depend on each other: raise it, or take solve_dtype: float64"
        )


class SparseGPT(Method):
    """Zero the weights whose loss costs the output least, and let the columns to the right make up for the error.
    A mask is chosen for each strip of 128 columns, after the updates by earlier strips.

        methods:
          sparsegpt_damped: {method: sparsegpt, params: {damping: 0.1}}

    In each strip the weights of least `w_ij^2 / U_jj^2` go, where `U` is upper triangular with
    `U^T U = (X X^T + lambda I)^-1`, X holds the inputs of the linear on all calibration tokens, and
    `lambda = damping * mean(diag(X X^T))`. When `w_ij` goes, every later weight of the row changes by
    `-(w_ij / U_jj) U_jk`. Every strip of a matrix has exactly the matrix's sparsity; rows may differ. For n:m the
    lowest of each group of a row go, chosen when the group's turn comes. Weights that are 0 before pruning go first and
    stay 0; where all inputs were 0, the smallest weights go.

    Cost: two forward passes over the calibration tokens; per input of the block one Gram matrix and one factorisation,
    cubic in its width, which linears share; per linear one sweep, out x in^2. All is in float64, except that products
    of inputs are summed in float32 within a batch. Memory: a float64 matrix in x in for each input of the block.
    `solve_dtype: float32` is for consumer GPUs, which compute float64 at 1/64 of their rate of float32: factor and
    sweep are then in float32, and the totals of the Gram matrix stay in float64.

    Differences from the published code: it computes in float32 and scales the Gram matrix by 2 / samples, which
    cancels. It takes a value of the strip as a threshold, so one weight too many plus all ties, zeroes every weight of
    an input that was always 0, and treats weights that are already zero like all others: preset `released` does these
    three. Here the weights of such inputs go first, but only as many as the sparsity means. (It also counts such an
    input as 1 in the damping; that is not repeated.) Its option of true sequential order is not offered.

    Preset `rose` lets costly columns go first (see `formulas.order`). Each such matrix has a factorisation of its own.
    Its authors' code stops with an error for n:m, where the order is left as it is here.
    """

    class Params(Parameters):
        """Parameters of SparseGPT."""

        damping: float = Field(0.01, ge=0, description="lambda, as a fraction of the Hessian's mean diagonal")
        columns: PositiveInt = Field(128, description="width of the strips in which masks are chosen")
        selection: Literal["exact", "threshold"] = "exact"
        """exact: as many weights of a strip as the sparsity means; threshold: all up to the value of that rank"""
        dead_inputs: Literal["kept", "zeroed"] = "kept"
        """zeroed: all weights of an input that was 0 on all tokens go; kept: no more than the sparsity means"""
        # The spec of a cell has this key only if the entry states it.
        order: Literal["natural", "loss"] = Field(
            "natural",
            exclude_if=lambda order: order == "natural",
            description="loss: costly columns go first, where they are few, as in ROSE; n:m has its natural order",
        )
        solve_dtype: SolveDType = SOLVE_DTYPE

        @model_validator(mode="after")
        def _damped_enough(self) -> Self:
            check_damping("damping", self.damping, self.solve_dtype)
            return self

    name = "sparsegpt"
    title = "SparseGPT"
    reference = "Frantar & Alistarh 2023, SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "released": {"selection": "threshold", "dead_inputs": "zeroed"},
        "rose": {"order": "loss"},
    }
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.HESSIAN})

    @property
    def exact(self) -> bool:
        """Whether the number of zeros is exact; a threshold prunes ties too, and dead inputs may be many."""
        return bool(self.params.selection == "exact" and self.params.dead_inputs == "kept")

    def cost(self, job: Pruning) -> Cost:
        """Two passes, Gram matrices, factors and sweeps."""
        return job.in_blocks("sparsegpt", solving=True, solve_dtype=self.params.solve_dtype)

    def prune_site(
        self,
        weights: Mapping[str, torch.Tensor],
        statistic: SiteStatistic,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        zeros: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, PrunedLinear]:
        """Prune all linears of the site in one sweep, stacked along their outputs; each linear has its own masks.

        `zeros`, boolean [out, in], are places that must be zero; by default, the present zeros of the weights.
        Raises CellFailure if the Gram matrix is not finite or not positive definite.
        """
        hessian = statistic.hessian_triangle.to(getattr(torch, self.params.solve_dtype))
        if self.params.dead_inputs == "zeroed":
            dead = hessian.diagonal() == 0
            weights = {name: weight.masked_fill(dead, 0) for name, weight in weights.items()}
        if self.params.order == "loss" and not pattern.structured:
            return self._reordered(weights, hessian, sparsities, pattern, zeros or {})
        U = obs.inverse_factor(hessian, self.params.damping)
        # The sums are as large as U, and of the widest site of a large model a gigabyte.
        del statistic, hessian
        return self.sweep(weights, U, sparsities, pattern, zeros)

    def _reordered(
        self,
        weights: Mapping[str, torch.Tensor],
        hessian: torch.Tensor,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        zeros: Mapping[str, torch.Tensor],
    ) -> dict[str, PrunedLinear]:
        """Prune each linear in its own order of columns, for `hessian` [in, in], of which the lower triangle counts."""
        full = obs.mirror(hessian.clone())
        pruned: dict[str, PrunedLinear] = {}
        orders = {
            name: order.by_loss(weight, full.diagonal(), sparsities[name], self.params.columns)
            for name, weight in weights.items()
        }
        natural = {name: weight for name, weight in weights.items() if orders[name] is None}
        if natural:
            U = obs.inverse_factor(full, self.params.damping)
            kept = {name: sparsities[name] for name in natural}
            gone = {name: zeros[name] for name in natural if name in zeros}
            pruned |= self.sweep(natural, U, kept, pattern, gone or None)
        for name, columns in orders.items():
            if columns is None:
                continue
            weight = weights[name]
            U = obs.inverse_factor(full[columns][:, columns], self.params.damping)
            turned = {name: zeros[name][:, columns]} if name in zeros else None
            entry = self.sweep({name: weight[:, columns]}, U, {name: sparsities[name]}, pattern, turned)[name]
            pruned[name] = PrunedLinear(entry.weight[:, columns.argsort()])
        return {name: pruned[name] for name in weights}

    def sweep(
        self,
        weights: Mapping[str, torch.Tensor],
        U: torch.Tensor,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        zeros: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, PrunedLinear]:
        """Prune as `prune_site` does, for U [in, in] with U^T U = (X X^T + lambda I)^-1, in the dtype of U."""
        gone_before = self._gone_before(weights, zeros)
        sizes = [len(weight) for weight in weights.values()]
        stacked = U.new_empty(len(U), sum(sizes))
        for part, weight in zip(stacked.split(sizes, dim=1), weights.values(), strict=True):
            part.copy_(weight.T)
        select = partial(self._select, sizes=sizes, sparsities=list(sparsities.values()), pattern=pattern)
        block = pattern.group if pattern.structured else self.params.columns
        pruned, _ = obs.eliminate(stacked, U, block, select, gone_before)
        parts = pruned.T.split(sizes)
        return {name: PrunedLinear(part) for name, part in zip(weights, parts, strict=True)}

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """The sparsity is met in each strip of columns."""
        return out, self.params.columns

    def _gone_before(
        self, weights: Mapping[str, torch.Tensor], zeros: Mapping[str, torch.Tensor] | None
    ) -> torch.Tensor | None:
        """Mask [in, out] of the zeros of all linears, which updates must not fill; None if there are none.

        The published code fills them, so `selection: threshold` treats them like all other weights.
        """
        if self.params.selection == "threshold":
            return None
        if zeros is None:
            zeros = {name: weight == 0 for name, weight in weights.items() if not weight.all()}
        if not any(mask.any() for mask in zeros.values()):
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
        """Mask of the least losses of each linear in the strip [columns, out], or of each row's group."""
        rows = loss.T.contiguous()
        if pattern.structured:
            return masks.lowest_of_groups(rows, pattern).T
        choose = masks.up_to_rank if self.params.selection == "threshold" else masks.lowest_of_matrix
        return torch.cat([choose(part, s) for part, s in zip(rows.split(sizes), sparsities, strict=True)]).T
