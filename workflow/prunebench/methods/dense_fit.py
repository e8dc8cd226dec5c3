"""DenseFit: fit each matrix to the outputs that the dense model has, given damaged inputs, and prune the fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure
from prunebench.formulas import fit, obs
from prunebench.formulas.finite import is_finite
from prunebench.lazy import torch
from prunebench.methods.dense_fit_solvers import SOLVERS, STEPS, Problem
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.engine.drift import Drift
    from prunebench.engine.statistics import Statistics
    from prunebench.estimate.costs import Cost, Pruning
    from prunebench.models.base import Site

DAMPINGS = (0.03, 0.1, 0.3)
"""The values among which the held-out windows choose."""
USUAL = (0.1, 0.55)
"""Damping and strength for the mask, and where no window is held out. No site chooses a larger strength."""
TRIED_ROWS = 16
"""Every sixteenth output is pruned to choose."""
TRIED_STEPS = 6
"""The conjugate-gradient steps for each damping."""


class DenseFit(Method):
    """Fit each matrix to the outputs of the dense model on the inputs of the pruned model, and prune the fit.
    Sites are pruned in the order of the forward pass, so that each mends what earlier ones have damaged.

        methods:
          dense_fit_plain: {method: dense_fit, params: {damping: 0.1, strength: 1.0, steps: 0}}

    Layer-wise solvers fit a matrix W to its own outputs on inputs that earlier pruning has damaged, so errors pile up.
    Here the dense model's hidden states go along. With X the inputs of the linear in the pruned model, X_d in the dense
    model, and R, R_d the hidden states to which a block adds the outputs of the linear, the target is
    `Y = W X + strength (W (X_d - X) + R_d - R)`, and the fit is

        V = argmin |V X - Y|^2 + r |V - W|^2 = W + (Y - W X) X^T (X X^T + r I)^-1,  r = damping * mean(diag(X X^T))

    Where a linear adds its output to the hidden states, each token counts by the inverse mean square of the dense
    model's states after the sum: the norm that follows divides by its root, and a few tokens have huge states.

    An unstructured mask takes weights from all rows of a matrix, and errors in one output may do more harm than errors
    in another. So an error counts by the output's sensitivity: how far a small error there moves the outputs of the
    dense block. A backward pass through the block alone measures it, on every fourth window (see `engine.sensitivity`).
    An n:m mask and Wanda's take equally many weights from each row, and need no sensitivities.

    The mask comes from 12 steps of ADMM towards Y with a penalty that grows the zeros (see `formulas.admm`), with
    products in the dtype of the forward passes; or from SparseGPT's elimination or Wanda's scores on V. A few
    conjugate-gradient steps then bring the weights that stay towards the optimum of the objective on that mask; their
    products are in bfloat16 if the forward passes are.

    A full correction fits the noise of a small calibration set, and `strength` and `damping` are two ways to hold it
    back. The mask is chosen with a damping of 0.1 and a strength of 0.55, unless the config has other values. For the
    conjugate gradients, each site then chooses the values that the config leaves open: every sixteenth output is
    fitted on three of four calibration windows with each damping. These weights are linear in the strength, so that
    their error against the dense model on the windows left out is a parabola, whose least value up to 0.55 names the
    strength. The pair with the least error is taken for all windows. No text of an evaluation is looked at.

    The bound of 0.55 is there because the error of a site's outputs is not the error of the model. With 32,768 tokens
    the windows left out ask for 0.5 to 0.8 of the correction, and perplexity is then higher than with 0.55 everywhere.

    Cost beside SparseGPT: a forward pass of the dense model, and for a quarter of the windows another, and a backward
    pass; a second product of inputs for each site; for each step of ADMM and of the conjugate gradients one product of
    the weights with a matrix in x in. Forward passes of the pruned model wait at each site while it is pruned, so that
    there is one. Memory: as SparseGPT, twice, and up to 2 GiB each for the dense model's values of a block and for the
    passes that wait. Before that, a window's backward pass holds a few matrices of heads x tokens x tokens in float32.

    Relatives: QEP and GPTAQ correct quantised layers in the same way, and Rethinking Pruning trains blocks on inputs
    and targets of the dense model by gradients.
    """

    class Params(Parameters):
        """Parameters of DenseFit."""

        damping: float | None = Field(
            None, gt=0, description="r, as a fraction of the mean diagonal of X X^T; null: chosen on held-out windows"
        )
        strength: float | None = Field(
            None, ge=0, description="the part of the correction in the target; null: chosen likewise, up to 0.55"
        )
        residual: bool = True
        """whether the target corrects the hidden states that the block adds"""
        weighted: bool = True
        """whether tokens count less where hidden states are large, as the norm that follows divides by their size"""
        sensitive: bool = True
        """whether an unstructured mask counts errors in an output by how far they move the block's outputs"""
        solver: Literal["admm", "sparsegpt", "wanda"] = "admm"
        """how the fit is pruned before the conjugate gradients"""
        steps: NonNegativeInt = Field(
            3, description="conjugate-gradient steps on the weights that stay; without any, nothing is chosen for them"
        )
        # The spec of a cell has these keys only if they differ from the default.
        mask: Literal["fit", "weights"] = Field(
            "fit",
            exclude_if=lambda mask: mask == "fit",
            description="fit: the solver prunes towards Y; weights: towards W X, so the mask knows of no correction",
        )
        order: Literal["sites", "block"] = Field(
            "sites",
            exclude_if=lambda order: order == "sites",
            description="sites: X is collected when earlier sites of the block are pruned; block: before any is",
        )

    name = "dense_fit"
    title = "DenseFit"
    reference = (
        "This project; relatives: Arai & Ichikawa 2025, QEP, and Shin et al. 2024, Rethinking Pruning Large Language "
        "Models"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.HESSIAN})
    sequential = True
    dense_stream = True

    @property
    def _sensitive(self) -> bool:
        """Whether an unstructured mask needs sensitivities; that of Wanda takes equally many weights from each row."""
        return bool(self.params.sensitive and self.params.solver != "wanda")

    def cost(self, job: Pruning) -> Cost:
        """Twice SparseGPT's passes, as the dense model's states go along, and the products of the two solvers."""
        assert job.text
        bits = "bfloat16" if job.text.dtype == "bfloat16" else "float32"
        cost = job.with_products(STEPS + self.params.steps + 2, bits).after(job.in_blocks("sparsegpt"))
        cost = cost.after(job.in_blocks("sensitivity")) if self._sensitive else cost
        return cost.solved_in("float32") if self.params.solver == "admm" else cost

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune site by site. The block's record has the damping and the strength of each site."""
        from prunebench.engine.drift import collect
        from prunebench.engine.sensitivity import sensitivities

        # An n:m mask takes equally many weights from each row.
        counts = sensitivities(block) if self._sensitive and not pattern.structured else {}
        weights = {site.name: {linear: block.weight(linear) for linear in site.linears} for site in block.sites}

        def summed(site: Site) -> tuple[Drift, Drift]:
            residual, weighted = self.params.residual, self.params.weighted
            return collect(block, site, weights[site.name], residual=residual, weighted=weighted)

        before = {site.name: summed(site) for site in block.sites} if self.params.order == "block" else {}
        pruned: dict[str, PrunedLinear] = {}
        chosen = {}
        for site in block.sites:
            sparsities = {linear: allocation[linear] for linear in site.linears}
            part, held_out = before.pop(site.name) if before else summed(site)
            result, chosen[site.name] = self.prune(weights[site.name], part, held_out, sparsities, pattern, counts)
            block.install(result)
            pruned |= {linear: PrunedLinear(block.weight(linear)) for linear in result}
        return BlockResult(pruned, {"fits": chosen})

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """The sparsity is met where the solver meets it: in the matrix, in strips of columns, or in rows."""
        if self.params.solver == "admm":
            return out, width
        return (1, width) if self.params.solver == "wanda" else SparseGPT().unit(out, width)

    def prune(
        self,
        weights: Mapping[str, torch.Tensor],
        part: Drift,
        held_out: Drift,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        sensitivities: Mapping[str, torch.Tensor],
    ) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        """Prune the linears [out, in] of a site, and return the damping and the strength beside them.

        `sensitivities` are numbers [out] by which the mask counts the errors of outputs; 1 for a linear without any.
        Raises CellFailure if X X^T + r I is not positive definite, or the sums are not finite.
        """
        from prunebench.engine.finite import advice

        damping, strength = (
            given if given is not None else usual
            for given, usual in zip((self.params.damping, self.params.strength), USUAL, strict=True)
        )
        drift = part + held_out
        if not is_finite(drift.cross):
            raise CellFailure(f"values of the dense model are NaN or infinite: {advice(drift.dtype)}")
        gram = obs.mirror(drift.gram.float())
        if self.params.solver == "admm":
            drift = drift.in_float32()
        missing = {name: drift.missing(weight) for name, weight in weights.items()}
        share = strength if self.params.mask == "fit" else 0.0
        goal = {name: share * cross for name, cross in missing.items()}
        problem = Problem(weights, goal, drift.gram, damping, sparsities, pattern)
        pruned = problem.pruned(SOLVERS[self.params.solver], drift.dtype, sensitivities)
        if self.params.steps:
            kept = {name: weight != 0 for name, weight in pruned.items()}
            if held_out.tokens and None in (self.params.damping, self.params.strength):
                damping, strength = self._choose(weights, kept, part, held_out)
            hessian = _damped(gram, damping).to(_bits(drift.dtype))
            for name, start in pruned.items():
                pull = strength * missing[name].float()
                pruned[name] = fit.on_support(
                    start.float(), weights[name].float(), pull, hessian, kept[name], self.params.steps
                )
        return pruned, {"damping": damping, "strength": strength}

    def _choose(
        self, weights: Mapping[str, torch.Tensor], kept: Mapping[str, torch.Tensor], part: Drift, held_out: Drift
    ) -> tuple[float, float]:
        """Choose damping and strength by the error on the windows `held_out` of weights that are fitted on the others.

        With a given mask, `kept`, the weights are linear in the strength, and the error is a parabola.
        """
        # The choice needs no float64, which takes twice as long.
        part, held_out = part.of_rows(TRIED_ROWS).in_float32(), held_out.of_rows(TRIED_ROWS).in_float32()
        gram, unseen = part.statistic.hessian, held_out.statistic.hessian
        choices = []
        for damping in DAMPINGS if self.params.damping is None else (self.params.damping,):
            hessian = _damped(gram, damping).to(_bits(part.dtype))
            curve = torch.zeros(3, dtype=torch.float64)
            for name, mask in kept.items():
                weight, stays = weights[name][::TRIED_ROWS].float(), mask[::TRIED_ROWS]
                none = torch.zeros_like(weight)
                plain = fit.on_support(weight * stays, weight, none, hessian, stays, TRIED_STEPS)
                change = fit.on_support(none, none, part.missing(weight), hessian, stays, TRIED_STEPS)
                curve += torch.tensor(fit.error_along(plain - weight, change, unseen, held_out.missing(weight)))
            a, b, c = curve.tolist()
            strength = self.params.strength
            if strength is None:
                strength = min(max(-b / a, 0.0), USUAL[1]) if a > 0 else 0.0
            choices.append((a * strength**2 + 2 * b * strength + c, damping, strength))
        _, damping, strength = min(choices)
        return damping, strength


def _damped(gram: torch.Tensor, damping: float) -> torch.Tensor:
    """X X^T + r I [in, in]."""
    hessian = gram.clone()
    hessian.diagonal().add_(damping * gram.diagonal().mean())
    return hessian


def _bits(dtype: torch.dtype) -> torch.dtype:
    """The dtype of products with X X^T + r I, which has a wider range than float16 holds."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
