"""ALPS: search the weights that stay under a rising penalty, then refine them. The maths is in `formulas.admm`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from prunebench.engine.contract import PrunedLinear
from prunebench.errors import CellFailure
from prunebench.formulas import admm
from prunebench.lazy import torch
from prunebench.methods.layerwise import LayerwiseSolver, Select
from prunebench.plugin import Parameters


class ALPS(LayerwiseSolver):
    """Search which weights of a matrix stay and what they become, and then refine those that stay.
    The search is ADMM for least squares with at most k weights; conjugate gradients do the rest.

        methods:
          alps_50: {method: alps, params: {refinement: 50}}

    For a linear W with inputs X, the method solves min ||V X - W X||^2 + lambda ||V - W||^2 over V with zeros, where
    `lambda = damping * mean(diag(X X^T))`. It works on scaled weights, for which the matrix X X^T + lambda I has a
    diagonal of 1. Each step solves a linear system with this matrix plus rho I, and keeps the largest of the result
    plus V / rho, where V are the multipliers. After every third step rho, at first 0.1, grows by a factor of 1.3, 1.2
    or 1.1, the more the more places have changed. All systems are solved with one eigendecomposition. When no place
    changes any more, conjugate gradients, `refinement` steps for all rows at once, bring the kept weights near the
    exact least squares. An unstructured sparsity is met in the matrix; rows may differ. For n:m the largest of each
    group stay. Weights that are 0 before pruning go first and stay 0.

    Cost: the passes and the Gram matrices of SparseGPT; one eigendecomposition per input of the block, which linears
    share, in float64; in each step of the search one product of the weights with a matrix in x in, in every third step
    one more of two matrices in x in, and two in each step of the refinement, in float32. On random
    problems the search took 33 to 36 steps. Memory: four matrices in x in and six copies of the weights of a linear.

    Differences: the paper prints lambda = 0.01 Tr(X X^T), and the published code has the mean of the diagonal, as here.
    The paper's conjugate gradients have one step length for all rows, the code and this one have a length for each. The
    code also ends the search when, from step 30 on, less than 0.03% of the kept weights change places (preset
    `released`). Where no place changes at first, it lowers rho and begins again, which is not repeated.
    """

    class Params(Parameters):
        """Parameters of ALPS."""

        damping: float = Field(0.01, ge=0, description="lambda, as a fraction of the Gram matrix's mean diagonal")
        rho: PositiveFloat = Field(0.1, description="the penalty at the start of the search")
        steps: PositiveInt = Field(300, description="the greatest number of steps of the search")
        settled: float = Field(0.0, ge=0, description="from step 30 on, the fraction of changes that ends the search")
        refinement: NonNegativeInt = Field(10, description="steps of conjugate gradients on the kept weights")

    name = "alps"
    title = "ALPS"
    reference = "Meng et al. 2024, ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for LLMs"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"settled": 0.0003}}

    def products(self) -> int:
        """The products of a search of 60 steps, and of the refinement."""
        return 80 + int(self.params.refinement)

    def solver(self, gram: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor, Select], PrunedLinear]]:
        """Decompose the scaled Gram matrix [in, in] with its damping. Raises CellFailure if that is not possible."""
        A, norms = admm.normalised(gram, self.params.damping)
        try:
            values, vectors = torch.linalg.eigh(A)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            raise CellFailure(
                f"the Gram matrix of {len(A)} inputs has no eigendecomposition: raise 'damping'"
            ) from None
        # Rounding makes eigenvalues of a matrix with dead inputs slightly negative.
        spectrum = (values.clamp_min(0).float(), vectors.float())
        return norms, partial(self._solve, A=A.float(), spectrum=spectrum)

    def _solve(
        self, weight: torch.Tensor, select: Select, *, A: torch.Tensor, spectrum: tuple[torch.Tensor, torch.Tensor]
    ) -> PrunedLinear:
        """Prune the scaled weights [out, in]."""
        pruned, gone, steps = admm.search_support(
            weight, A, spectrum, select, rho=self.params.rho, steps=self.params.steps, settled=self.params.settled
        )
        refined = admm.refine(pruned, weight @ A, A, gone, self.params.refinement)
        return PrunedLinear(refined, {"search_steps": steps})
