"""Base of methods that solve the layer-wise least squares of each linear on scaled weights. See `formulas.admm`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Protocol

from prunebench.engine.contract import Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.formulas import admm
from prunebench.lazy import torch
from prunebench.patterns import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from prunebench.engine.statistics import SiteStatistic
    from prunebench.estimate.costs import Cost, Pruning


class Select(Protocol):
    """The choice of the weights of one linear that go."""

    def __call__(self, values: torch.Tensor, part: float = 1.0) -> torch.Tensor:
        """Mask [out, in] of the lowest |`values`| [out, in]; of the fraction `part` of those that should go."""


class LayerwiseSolver(Method):
    """Base of methods that scale the weights of a linear by the norms of its inputs and solve for few of them."""

    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.HESSIAN})

    @abstractmethod
    def solver(self, gram: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor, Select], PrunedLinear]]:
        """Prepare what the linears of a site share, for their Gram matrix, float64 [in, in].

        Returns the norms of the inputs, float64 [in], and a function that prunes scaled weights, float32 [out, in].
        """

    @abstractmethod
    def products(self) -> int:
        """The number of products of the weights [out, in] of a linear with a matrix [in, in]."""

    def prune_site(
        self,
        weights: Mapping[str, torch.Tensor],
        statistic: SiteStatistic,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        zeros: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, PrunedLinear]:
        """Prune the linears of the site one by one. They share what follows from their input.

        `zeros`, boolean [out, in], are places that must be zero; by default, the present zeros of the weights. A linear
        that has all its zeros already does not change. Raises CellFailure if a number is not finite.
        """
        norms, solve = self.solver(statistic.hessian)
        pruned = {}
        for name, weight in weights.items():
            scaled = weight.double() * norms
            # The problem has no unit of its own, and float32 has a small range.
            unit = scaled.abs().max().clamp_min(torch.finfo(scaled.dtype).tiny)
            values = (scaled / unit).float()
            gone = weight == 0 if zeros is None else zeros[name]
            select = partial(admm.lowest, zeros=gone, sparsity=sparsities[name], pattern=pattern, scope=self.scope)
            if not weight[select(values)].any():
                pruned[name] = PrunedLinear(weight)
                continue
            solved = solve(values, select)
            pruned[name] = replace(solved, weight=solved.weight.double() * unit / norms)
        return pruned

    def cost(self, job: Pruning) -> Cost:
        """Add the products of all steps to the cost of SparseGPT, whose matrices take as much memory."""
        return job.with_products(self.products())
