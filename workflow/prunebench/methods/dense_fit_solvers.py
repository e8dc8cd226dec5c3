"""The solvers of DenseFit: each prunes the linears of a site towards the outputs that they should have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from prunebench.formulas import admm, fit, masks, obs, scores
from prunebench.lazy import torch
from prunebench.methods.sparsegpt import SparseGPT

if TYPE_CHECKING:
    from prunebench.patterns import Pattern

RHO, STEPS, RAMP = 1.0, 12, 10
"""The penalty of ADMM, its steps, and the first steps, in which the mask is chosen."""


Solver = Callable[["Problem", "torch.dtype"], dict[str, "torch.Tensor"]]
"""Prunes the linears of a problem; its products may be in the dtype."""


@dataclass
class Problem:
    """Linears with weights W [out, in] that share the inputs X and should have the outputs Y when pruned."""

    weights: Mapping[str, torch.Tensor]
    """W of each linear. Weights that are 0 stay 0 and go first."""
    missing: Mapping[str, torch.Tensor]
    """(Y - W X) X^T [out, in] of each linear."""
    gram: torch.Tensor
    """X X^T [in, in], its lower triangle; numbers above the diagonal mean nothing."""
    damping: float
    """r, as a fraction of the mean diagonal of X X^T (see `DenseFit`)."""
    sparsities: Mapping[str, float]
    pattern: Pattern

    def fits(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The V [out, in] of each linear with the least |V X - Y|^2 + r |V - W|^2, and U^T U = (X X^T + r I)^-1."""
        U = obs.inverse_factor(self.gram, self.damping)
        return {name: weight + fit.correction(self.missing[name], U) for name, weight in self.weights.items()}, U

    def pruned(
        self, solver: Solver, dtype: torch.dtype, sensitivities: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Prune by `solver`, which counts the squared error of each output by the square of its sensitivity [out].

        A linear without sensitivities counts all outputs alike. Rows are problems of their own but for the mask, so
        that it is enough to stretch W and Y.
        """
        stretch = {name: values[:, None] for name, values in sensitivities.items() if name in self.weights}

        def stretched(matrices: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {
                name: matrix * stretch[name] if name in stretch else matrix  # 16 bits become float32
                for name, matrix in matrices.items()
            }

        problem = replace(self, weights=stretched(self.weights), missing=stretched(self.missing))
        return {
            name: weight / stretch[name] if name in stretch else weight
            for name, weight in solver(problem, dtype).items()
        }

    def zeros(self) -> dict[str, torch.Tensor]:
        """The weights that were 0 before, boolean [out, in]."""
        return {name: weight == 0 for name, weight in self.weights.items()}


def sparsegpt(problem: Problem, _: torch.dtype) -> dict[str, torch.Tensor]:
    """Prune the fits by SparseGPT's elimination."""
    fits, U = problem.fits()
    pruned = SparseGPT().sweep(fits, U, problem.sparsities, problem.pattern, problem.zeros())
    return {name: entry.weight for name, entry in pruned.items()}


def wanda(problem: Problem, _: torch.dtype) -> dict[str, torch.Tensor]:
    """Prune the weights of the fits whose scores are the lowest in their rows."""
    fits, _U = problem.fits()
    pruned = {}
    for name, zeros in problem.zeros().items():
        weight = masks.zeroed(fits[name], zeros)
        score = scores.wanda(weight, problem.gram.diagonal())
        mask = masks.prune_mask(score, weight, problem.sparsities[name], problem.pattern, scope="row")
        pruned[name] = masks.zeroed(weight, mask)
    return pruned


def alternating(problem: Problem, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Prune gradually and let the other weights make up for it, by ADMM; the fits are never computed.

    Products are in `dtype`, everything else is in float32: the weights are only a start, and the mask needs no more.
    """
    A, norms = admm.normalised(obs.mirror(problem.gram.float()), problem.damping)
    if not A.diagonal().any():
        A.diagonal().fill_(1)  # nothing depends on the weights: the smallest go, and the others stay as they are
    U = obs.inverse_factor(A, RHO)
    inverse = (U.T @ U).to(dtype)

    def kind(name: str) -> tuple[int, float]:
        return len(problem.weights[name]), problem.sparsities[name]

    pruned: dict[str, torch.Tensor] = {}
    # Linears of one size are pruned together.
    for _, group in groupby(sorted(problem.weights, key=kind), kind):
        names = list(group)
        scaled = torch.cat([problem.weights[name].float() for name in names]).mul_(norms)
        missing = torch.cat([problem.missing[name].float() for name in names]).div_(norms)
        # The problem has no unit of its own, and the products may have few bits.
        unit = scaled.abs().max().clamp_min(torch.finfo(scaled.dtype).tiny)
        scaled, missing = scaled.div_(unit), missing.div_(unit)
        select = Selection(scaled == 0, len(names), problem.sparsities[names[0]], problem.pattern)
        target = torch.addmm(missing, scaled, A)
        values = admm.gradual(scaled, target, inverse, select, rho=RHO, steps=STEPS, ramp=RAMP)
        pruned |= zip(names, values.mul_(unit).div_(norms).chunk(len(names)), strict=True)
    return pruned


@dataclass
class Selection:
    """Chooses the weights that go, for matrices below each other, each with its own sparsity."""

    zeros: torch.Tensor
    copies: int
    sparsity: float
    pattern: Pattern

    def __call__(self, values: torch.Tensor, part: float) -> torch.Tensor:
        """Mask of the smallest |`values`|, or of about the fraction `part` of those that should go."""
        if part < 1 and self.pattern.structured:
            # Groups do not reach from one matrix to the next.
            allowed = admm.lowest(values, zeros=self.zeros, sparsity=self.sparsity, pattern=self.pattern, scope="row")
            sizes = torch.where(allowed, values, torch.inf)
            return admm.about_lowest(sizes, part * self.sparsity, self.copies) & allowed | self.zeros
        if part < 1:
            return admm.about_lowest(values, part * self.sparsity, self.copies) | self.zeros
        chunks = zip(values.chunk(self.copies), self.zeros.chunk(self.copies), strict=True)
        parts = [
            admm.lowest(chunk, part, zeros=zeros, sparsity=self.sparsity, pattern=self.pattern, scope="matrix")
            for chunk, zeros in chunks
        ]
        return torch.cat(parts)


SOLVERS: dict[str, Solver] = {
    "admm": alternating,
    "sparsegpt": sparsegpt,
    "wanda": wanda,
}
