"""ADMM: the mask is chosen gradually while least squares updates the weights. The maths is in `formulas.admm`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from prunebench.engine.contract import PrunedLinear
from prunebench.formulas import admm
from prunebench.methods.layerwise import LayerwiseSolver, Select
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch


class ADMM(LayerwiseSolver):
    """Zero weights step by step, and let all others of their rows make up for the error after each step.
    In the first steps the mask grows, in the last steps only the weights that stay are updated.

        methods:
          admm_40: {method: admm, params: {steps: 40, ramp: 30}}

    For a linear W with inputs X, the method solves min ||V X - W X||^2 + lambda ||(V - W) E||^2 over V with zeros,
    where E holds the norms of the inputs and `lambda` is `damping`. It works on the scaled weights W E, for which the
    matrix X X^T has a diagonal of 1. Each step adds to W the running sum U of what the mask has cut off, cuts the
    smallest of |W + U| again, and solves a linear system with the matrix X X^T + (lambda + rho) I, whose inverse is
    computed once. Step i of the first `ramp` steps zeroes the fraction s (1 - (1 - i / ramp)^3) of the weights of the
    matrix, for n:m that fraction of the lowest of all groups. Rows of an unstructured mask may differ. Weights that are
    0 before pruning go first and stay 0.

    Cost: the passes and the Gram matrices of SparseGPT; one inverse per input of the block, which linears share, in
    float64; in each step one product of the weights with a matrix in x in, in float32. Memory: two matrices in x in and
    six copies of the weights of a linear.

    Differences from the published code (preset `released`): for unstructured masks it zeroes all weights in the first
    step already, although it chooses them anew in the first 15. The gradual mask of the paper is there for n:m, where
    it supports 2:4 only, and for masks per row, which are not the default. It rounds the number of zeros down; here it
    is rounded to the nearest.
    """

    class Params(Parameters):
        """Parameters of ADMM."""

        steps: PositiveInt = Field(20, description="the number of updates")
        ramp: PositiveInt = Field(15, description="the number of first steps in which the mask is chosen")
        schedule: Literal["cubic", "constant"] = "cubic"
        """constant: all weights that should go, go in the first step"""
        rho: PositiveFloat = Field(1.0, description="the penalty that ties the updated weights to the masked ones")
        damping: float = Field(0.1, ge=0, description="lambda, on a Gram matrix whose diagonal is 1")

    name = "admm"
    title = "ADMM"
    reference = "Boža 2024, Fast and Effective Weight Update for Pruned Large Language Models, algorithm 3"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"schedule": "constant"}}

    def products(self) -> int:
        """One product in each step, and one for the right-hand side."""
        return int(self.params.steps) + 1

    def solver(self, gram: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor, Select], PrunedLinear]]:
        """Invert the scaled Gram matrix [in, in] with its damping and penalty."""
        A, norms = admm.normalised(gram)
        A.diagonal().add_(self.params.damping)
        inverse = admm.inverse(A, self.params.rho).float()
        return norms, partial(self._solve, A=A.float(), inverse=inverse)

    def _solve(self, weight: torch.Tensor, select: Select, *, A: torch.Tensor, inverse: torch.Tensor) -> PrunedLinear:
        """Prune the scaled weights [out, in]."""
        return PrunedLinear(
            admm.gradual(
                weight,
                weight @ A,
                inverse,
                select,
                rho=self.params.rho,
                steps=self.params.steps,
                ramp=min(self.params.ramp, self.params.steps),
                cubic=self.params.schedule == "cubic",
            )
        )
