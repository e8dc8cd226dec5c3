"""DenseFit: fit each matrix to the outputs that the dense model has, given damaged inputs, and prune the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.formulas import fit, masks, obs, scores
from prunebench.lazy import torch
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.engine.drift import Drift
    from prunebench.engine.statistics import Statistics

DAMPINGS = (0.03, 0.1, 0.3)
STRENGTHS = (0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
"""The values among which the held-out windows choose."""
UNTRIED = (0.1, 0.55)
"""Damping and strength where no window is held out."""
TRIED_ROWS = 16
"""Every sixteenth output is pruned for each trial."""


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

    V is pruned under the same objective, whose Hessian around V is X X^T + r I: by SparseGPT's elimination, or by
    Wanda's scores. A few conjugate-gradient steps then bring the weights that stay towards the least-squares optimum.

    A full correction fits the noise of a small calibration set, and `strength` and `damping` are two ways to hold it
    back. Without values in the config each site chooses both: a part of its outputs is fitted and pruned on three of
    four calibration windows with every pair, and the pair with the least error against the dense model on the windows
    left out is taken, for a fit on all windows. No text of an evaluation is looked at.

    Cost beside SparseGPT: a forward pass of the dense model, one of a part of each block for each site, a second
    product of inputs for each site, the trials (about three factorisations), and for each conjugate-gradient step one
    product of the weights with X X^T. Memory: as SparseGPT, twice, and 2 GiB for the dense model's values of a block;
    more of them go to files.

    Relatives: QEP and GPTAQ correct quantised layers in the same way, and Rethinking Pruning trains blocks on inputs
    and targets of the dense model by gradients.
    """

    class Params(Parameters):
        """Parameters of DenseFit."""

        damping: float | None = Field(
            None, gt=0, description="r, as a fraction of the mean diagonal of X X^T; null: chosen on held-out windows"
        )
        strength: float | None = Field(
            None, ge=0, description="the part of the correction that the target holds; null: chosen likewise"
        )
        residual: bool = True
        """whether the target corrects the hidden states that the block adds"""
        weighted: bool = True
        """whether tokens count less where hidden states are large, as the norm that follows divides by their size"""
        solver: Literal["sparsegpt", "wanda"] = "sparsegpt"
        """how the fit is pruned before the conjugate gradients"""
        steps: NonNegativeInt = Field(5, description="conjugate-gradient steps on the weights that stay")

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

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune site by site. The block's record has the damping and the strength of each site."""
        from prunebench.engine.drift import collect

        pruned: dict[str, PrunedLinear] = {}
        chosen = {}
        for site in block.sites:
            weights = {linear: block.weight(linear) for linear in site.linears}
            sparsities = {linear: allocation[linear] for linear in site.linears}
            residual, weighted = self.params.residual, self.params.weighted
            part, held_out = collect(block, site, weights, residual=residual, weighted=weighted)
            damping, strength = self._choose(weights, part, held_out, sparsities, pattern)
            chosen[site.name] = {"damping": damping, "strength": strength}
            result = self.prune(weights, part + held_out, sparsities, pattern, damping, strength, self.params.steps)
            block.install({linear: entry.weight for linear, entry in result.items()})
            pruned |= {linear: replace(entry, weight=block.weight(linear)) for linear, entry in result.items()}
        return BlockResult(pruned, {"fits": chosen})

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """The sparsity is met where the solver meets it: in strips of columns, or in rows."""
        return (1, width) if self.params.solver == "wanda" else SparseGPT().unit(out, width)

    def prune(
        self,
        weights: Mapping[str, torch.Tensor],
        drift: Drift,
        sparsities: Mapping[str, float],
        pattern: Pattern,
        damping: float,
        strength: float,
        steps: int,
    ) -> dict[str, PrunedLinear]:
        """Fit and prune the linears [out, in] of a site. Raises CellFailure if X X^T + r I is not positive definite."""
        gram = drift.statistic.hessian_triangle
        U = obs.inverse_factor(gram, damping)
        correction = strength * fit.correction(drift.cross, U)
        fits = {name: weight + drift.change(weight.double(), correction) for name, weight in weights.items()}
        pruned = self._prune(weights, fits, gram, U, sparsities, pattern)
        if steps:
            hessian = obs.mirror(gram.float())
            hessian.diagonal().add_(damping * hessian.diagonal().mean())
            for name, entry in pruned.items():
                start = entry.weight.float()
                entry.weight = fit.on_support(start, fits[name].float(), hessian, start != 0, steps)
        return pruned

    def _prune(
        self,
        weights: Mapping[str, torch.Tensor],
        fits: Mapping[str, torch.Tensor],
        gram: torch.Tensor,
        U: torch.Tensor,
        sparsities: Mapping[str, float],
        pattern: Pattern,
    ) -> dict[str, PrunedLinear]:
        """Prune `fits`. Weights that were 0 before stay 0 and go first."""
        zeros = {name: weight == 0 for name, weight in weights.items()}
        if self.params.solver == "sparsegpt":
            return SparseGPT().sweep(fits, U, sparsities, pattern, zeros)
        pruned = {}
        for name, weight in fits.items():
            weight = masks.zeroed(weight, zeros[name])
            score = scores.wanda(weight, gram.diagonal())
            mask = masks.prune_mask(score, weight, sparsities[name], pattern, scope="row")
            pruned[name] = PrunedLinear(masks.zeroed(weight, mask))
        return pruned

    def _choose(
        self,
        weights: Mapping[str, torch.Tensor],
        part: Drift,
        held_out: Drift,
        sparsities: Mapping[str, float],
        pattern: Pattern,
    ) -> tuple[float, float]:
        """Choose damping and strength of a site by the error of pruned weights on the windows `held_out`."""
        dampings = DAMPINGS if self.params.damping is None else (self.params.damping,)
        strengths = STRENGTHS if self.params.strength is None else (self.params.strength,)
        if len(dampings) * len(strengths) == 1:
            return dampings[0], strengths[0]
        if not held_out.tokens:
            damping, strength = UNTRIED
            return self.params.damping or damping, strength if self.params.strength is None else self.params.strength
        # The choice needs no float64, which takes twice as long.
        part, held_out = part.of_rows(TRIED_ROWS).in_float32(), held_out.of_rows(TRIED_ROWS).in_float32()
        rows = {name: weight[::TRIED_ROWS].float() for name, weight in weights.items()}
        # All strengths are pruned in one sweep, as linears of their own.
        trials = {f"{name} {strength}": (name, strength) for name in rows for strength in strengths}
        before = {trial: rows[name] for trial, (name, _) in trials.items()}
        targets = {trial: sparsities[name] for trial, (name, _) in trials.items()}
        gram, unseen = part.gram, held_out.statistic.hessian
        missing = {name: held_out.missing(weight) for name, weight in rows.items()}
        errors = dict.fromkeys(((damping, strength) for damping in dampings for strength in strengths), 0.0)
        for damping in dampings:
            U = obs.inverse_factor(gram, damping)
            correction = fit.correction(part.cross, U)
            changes = {name: part.change(weight, correction) for name, weight in rows.items()}
            fits = {trial: rows[name] + strength * changes[name] for trial, (name, strength) in trials.items()}
            for trial, entry in self._prune(before, fits, gram, U, targets, pattern).items():
                name, strength = trials[trial]
                errors[damping, strength] += fit.error(entry.weight - rows[name], unseen, missing[name])
        return min(errors, key=errors.__getitem__)
