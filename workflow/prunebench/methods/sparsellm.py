"""SparseLLM: prune a block's FFN as a whole, through auxiliary variables for what passes between its linears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure
from prunebench.lazy import torch
from prunebench.methods import sparsellm_updates as updates
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.methods.wanda import Wanda
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters, Support

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import SiteStatistic, Statistics
    from prunebench.estimate.costs import Cost, Pruning
    from prunebench.methods.sparsellm_sweep import Auxiliaries, Penalties, Products
    from prunebench.models.base import FeedForward, Site

NOT_RELU = "SparseLLM's z-step for FFNs without gate is that of ReLU: this model has another activation"
NEWTON_STEPS = 2
S_STEPS, S_RATE = 2, 0.01
DOWN_STEPS, DOWN_RATE = 10, 0.01
RANK_CUT = 3.5e-4
"""Part of the largest singular value below which a Gram matrix summed in float32 holds noise: the root of 2^-23."""
DIVERGED = 100.0
"""Relative error of the FFN's output from which a block counts as lost: zeros have 1."""
RELEASED: dict[str, Any] = {
    "solver_preset": "released",
    "damping_mode": "accumulating",
    "ridge": None,
    "s_step": "gradient",
    "keep_best": False,
}


class SparseLLM(Method):
    """Prune a block's FFN so that its output stays, not that of each linear: the linears settle on what lies between.

    Auxiliary variables z (output of the up projection), s (of the gate, if there is one) and p (input of the down
    projection) stand in the objective, summed over all calibration tokens,

        alpha ||z - W_up X||^2 + alpha ||s - W_gate X||^2 + gamma ||p - act(s) z||^2 + beta ||Y - W_down p||^2

    with the FFN's inputs X and outputs Y as the unpruned block has them (without gate: p ~ act(z)). The first epoch
    is the inner solver, SparseGPT, on every linear. Each further one fits dense weights to z, s and p by least
    squares, prunes those with the inner solver, and updates p, z and s, in this order: p and z in closed form, s by
    Gauss-Newton steps. The attention's linears are pruned by the inner solver alone. The epoch whose pruned FFN comes
    nearest to Y is taken (`keep_best`), so that no block ends further from Y than SparseGPT's; an epoch that fails
    ends the block's epochs. Weights that are 0 before pruning are so in every epoch.

    The paper writes the fits with pseudo-inverses, which on few tokens fit noise in the weak directions of X and p:
    here they have a small penalty (`ridge`), which draws the weights to zero, or with `anchor` to the unpruned ones.

    The cost beside SparseGPT is one forward pass, and in each epoch eight products of all tokens with a matrix of the
    FFN's size, a Gram matrix and a factorisation of the FFN's width. Least squares goes through Gram matrices in
    float64, p through a solve of the hidden size (Woodbury); z and s are float32, stay in memory up to `memory` and
    lie in files beyond, so that memory does not grow with the calibration set.

    The published code (presets `released`, and `released_opt` for models without gate) takes s two gradient steps of
    length 0.01, which diverge where |act'(s) z| is large: the block fails, or perplexity explodes. It damps the Gram
    matrix of X once more in every epoch, refits without a penalty, keeps the last epoch, gives blocks 1, 30 and 31 of
    any model one epoch only, and without gate refits W_down by ten gradient steps. Its half-precision storage of
    inverses and variables is not repeated, nor that its pseudo-inverse leaves out no direction at all: through a Gram
    matrix in float32 those below 3.5e-4 of the largest are noise. The tables of the paper prune the first half of the
    blocks: allocator `first_half`.
    """

    class Params(Parameters):
        """Parameters of SparseLLM."""

        alpha: PositiveFloat = Field(5.0, description="weight of ||z - W_up X||^2 and of ||s - W_gate X||^2")
        beta: PositiveFloat = Field(5.0, description="weight of ||Y - W_down p||^2")
        gamma: PositiveFloat = Field(5.0, description="weight of ||p - act(s) z||^2, without gate ||p - act(z)||^2")
        epochs: PositiveInt = Field(4, description="how often the FFN is pruned; 1 is the inner solver alone")
        plain_blocks: tuple[NonNegativeInt, ...] = Field((), description="blocks that get one epoch")
        solver: Literal["sparsegpt", "wanda"] = Field("sparsegpt", description="prunes each linear in each epoch")
        solver_preset: Literal["paper", "released"] = "paper"
        """of the inner solver"""
        damping: float = Field(0.01, ge=0, description="SparseGPT's lambda, as a fraction of the mean diagonal")
        damping_mode: Literal["fixed", "accumulating"] = "fixed"
        """accumulating: the Gram matrix of the FFN's inputs is damped once more in every epoch"""
        refit_down: Literal["least_squares", "gradient"] = "least_squares"
        """how W_down is refitted; gradient: ten steps of length 0.01 on the mean squared error, from pruned weights"""
        ridge: float | None = Field(
            0.01,
            ge=0,
            description="penalty of least squares, as a fraction of the Gram matrix's mean diagonal, or null",
        )
        anchor: Literal["zero", "dense"] = "zero"
        """what the penalty pulls weights to; without a penalty, directions that are noise in float32 are left out"""
        s_step: Literal["newton", "gradient"] = "newton"
        """gradient: two steps of length 0.01, which diverge where the loss is steep"""
        targets: Literal["before", "after"] = "before"
        """whether the FFN's inputs and outputs are taken before or after the block's attention is pruned"""
        keep_best: bool = True
        """take the epoch with the least reconstruction loss, not the last one"""
        memory: float = Field(2.0, ge=0, description="GiB of a block's variables in memory; the rest goes to files")

    name = "sparsellm"
    title = "SparseLLM"
    reference = "Bai et al. 2024, SparseLLM: Towards Global Pruning of Pre-trained Language Models"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "tuned": {"alpha": 1.0, "anchor": "dense"},
        "released": {**RELEASED, "plain_blocks": (1, 30, 31)},
        "released_opt": {**RELEASED, "alpha": 0.1, "beta": 0.1, "gamma": 0.1, "refit_down": "gradient"},
    }
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM, Stat.HESSIAN})

    iterative = True

    @property
    def exact(self) -> bool:
        """As the inner solver."""
        return self._solver().exact

    def cost(self, job: Pruning) -> Cost:
        """Attention as SparseGPT, the FFN in epochs; its variables x, y as computed, z and s in float32."""
        model, text = job.model, job.text
        assert text is not None
        variables = text.tokens * (2.0 * model.sizes.hidden * text.item + (2 if model.gated else 1) * 4.0 * model.ffn)
        resident = min(variables, self.params.memory * 2**30)
        streamed = job.in_blocks(self.name, solving=True, epochs=self.params.epochs)
        return replace(streamed, host=streamed.host + resident, scratch=variables - resident)

    def reads(self, ffn: FeedForward) -> Support:
        """The update of z is known for gated FFNs and for ReLU; one epoch updates nothing."""
        known = self.params.epochs == 1 or ffn.gate is not None or ffn.relu
        return Support(True) if known else Support(False, NOT_RELU)

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Attention by the inner solver, then the FFN in epochs."""
        from prunebench.methods.sparsellm_sweep import Auxiliaries

        solver = self._solver()
        if self.params.epochs == 1 or block.index in self.params.plain_blocks:
            return solver.prune_block(block, statistics, allocation, pattern)
        ffn = [site for site in block.sites if {block.ffn.up, block.ffn.down} & {*site.linears}]
        attention = [site for site in block.sites if site not in ffn]
        if block.ffn.gate is None and not updates.is_relu(block.activation):
            raise CellFailure(NOT_RELU)
        spill = block.spill(self.params.memory)
        if self.params.targets == "before":
            auxiliaries = Auxiliaries(block, spill)
            pruned = solver.prune_sites(attention, block, statistics, allocation, pattern)
        else:
            pruned = solver.prune_sites(attention, block, statistics, allocation, pattern)
            auxiliaries = Auxiliaries(block, spill)
            statistics = block.statistics(self.needs, [site.name for site in ffn])
        problem = _Problem(self, block, ffn, {site.name: statistics[site.name] for site in ffn}, auxiliaries)
        solved, record = problem.solve(allocation, pattern)
        return BlockResult(pruned | solved, record)

    def zeros_beyond_target(self, zeros: torch.Tensor, sparsity: float, pattern: Pattern) -> int:
        """As the inner solver."""
        return self._solver().zeros_beyond_target(zeros, sparsity, pattern)

    def _solver(self, repeats: int = 1) -> SparseGPT | Wanda:
        """The inner solver, for a Gram matrix to which its damping is added `repeats` times over."""
        if self.params.solver == "wanda":
            return Wanda(Wanda.configure(self.params.solver_preset))
        # As a sum of powers: for the first time that is the damping itself, to the last bit.
        damping = self.params.damping * sum((1 + self.params.damping) ** power for power in range(repeats))
        return SparseGPT(SparseGPT.configure(self.params.solver_preset, {"damping": damping}))

    def solver(self, epoch: int, inputs: bool) -> SparseGPT | Wanda:
        """The inner solver of an epoch, for the linears that read the FFN's `inputs`, or for the down projection."""
        accumulates = inputs and self.params.damping_mode == "accumulating"
        return self._solver(epoch + 1 if accumulates else 1)

    def penalties(self, activation: updates.Activation) -> Penalties:
        """The objective."""
        from prunebench.methods.sparsellm_sweep import Penalties

        alpha, gamma = self.params.alpha, self.params.gamma
        step = (
            partial(updates.update_s, steps=NEWTON_STEPS)
            if self.params.s_step == "newton"
            else partial(updates.update_s_by_gradient, steps=S_STEPS, rate=S_RATE)
        )
        s_step = partial(step, activation=updates.smooth(activation), alpha=alpha, gamma=gamma)
        return Penalties(alpha, self.params.beta, gamma, s_step)

    def least_squares(self, cross: torch.Tensor, gram: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        """W [out, in] that is nearest to what the auxiliary variables want of it; `dense` is the unpruned weight."""
        if self.params.ridge is None:
            return updates.refit_by_rank(cross, gram, RANK_CUT)
        if self.params.anchor == "zero":
            return updates.refit(cross, gram, self.params.ridge)
        return dense + updates.refit(cross - dense @ gram, gram, self.params.ridge)


@dataclass
class _Problem:
    """The FFN of one block."""

    method: SparseLLM
    block: BlockView
    sites: list[Site]
    """That of its inputs, and that of the down projection."""
    statistics: dict[str, SiteStatistic]
    auxiliaries: Auxiliaries

    def solve(
        self, allocation: Mapping[str, float], pattern: Pattern
    ) -> tuple[dict[str, PrunedLinear], dict[str, Any]]:
        """The pruned linears of the best or last epoch; losses by epoch, as the record of the block."""
        from prunebench.engine.placement.memory import give_back_freed_pages
        from prunebench.methods.sparsellm_sweep import FeedForward, Products

        params = self.method.params
        dense = self._weights()
        kept, lowest, stopped, sums = 0, inf, None, None
        best: dict[str, torch.Tensor] = {}
        epochs: list[dict[str, Any]] = []
        for epoch in range(params.epochs):
            try:
                self._prune(epoch, dense, sums, allocation, pattern)
                # What is free after one phase does not fit the tensors of the next.
                give_back_freed_pages()
                ffn = FeedForward.of(self.block)
                sums = None  # Before new ones are made: they are the largest tensors here.
                sums = Products.zeros(ffn) if epoch + 1 < params.epochs else None
                losses = self.auxiliaries.sweep(ffn, self.method.penalties(ffn.activation), sums)
                if not epoch or not params.keep_best or losses.reconstruction < lowest:
                    kept, lowest, best = epoch, losses.reconstruction, self._weights()
                # As a negation: nothing compares with NaN.
                if not (losses.reconstruction < DIVERGED and all(map(isfinite, losses.terms.values()))):
                    raise CellFailure(
                        f"SparseLLM diverged in epoch {epoch + 1} of block {self.block.index}: error of the FFN "
                        f"{losses.reconstruction:.3g} of 1, loss {sum(losses.terms.values()):.3g}"
                    )
            except CellFailure as failure:
                # What an earlier epoch left is good, and so is the inner solver's first result.
                if not params.keep_best or not lowest < DIVERGED:
                    raise
                stopped = str(failure)
                break
            epochs.append(asdict(losses))
            give_back_freed_pages()
        record = {"epochs": epochs, "kept": kept + 1, **({"stopped": stopped} if stopped else {})}
        return {linear: PrunedLinear(weight) for linear, weight in best.items()}, record

    def _weights(self) -> dict[str, torch.Tensor]:
        """Those of the FFN at present."""
        return {linear: self.block.weight(linear) for site in self.sites for linear in site.linears}

    def _prune(
        self,
        epoch: int,
        dense: Mapping[str, torch.Tensor],
        sums: Products | None,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> None:
        """Prune the unpruned weights (`dense`), or those that fit the auxiliary variables best, and install them."""
        from prunebench.engine.statistics import SiteStatistic

        for site in self.sites:
            inputs = self.block.ffn.down not in site.linears
            statistic, weights = self.statistics[site.name], {linear: dense[linear] for linear in site.linears}
            if sums is not None:
                statistic = statistic if inputs else SiteStatistic.of_gram(sums.gram, len(self.auxiliaries.x))
                weights = self._refit(weights, statistic.hessian, sums)
            shares = {linear: allocation[linear] for linear in site.linears}
            zeros = {linear: dense[linear] == 0 for linear in site.linears}
            pruned = self.method.solver(epoch, inputs=inputs).prune_site(weights, statistic, shares, pattern, zeros)
            self.block.install({linear: entry.weight for linear, entry in pruned.items()})

    def _refit(self, dense: Mapping[str, torch.Tensor], gram: torch.Tensor, sums: Products) -> dict[str, torch.Tensor]:
        """The weights of a site that fit the auxiliary variables best; `gram` is that of its inputs."""
        return {linear: self._fit(linear, weight.double(), gram, sums) for linear, weight in dense.items()}

    def _fit(self, linear: str, dense: torch.Tensor, gram: torch.Tensor, sums: Products) -> torch.Tensor:
        if not gram.diagonal().any():
            return dense  # inputs that are always 0 ask for nothing
        roles, tokens = self.block.ffn, len(self.auxiliaries.x)
        now = self.block.weight(linear).double()
        if linear == roles.down and self.method.params.refit_down == "gradient":
            return updates.refit_by_gradient(now, sums.down, gram, tokens, steps=DOWN_STEPS, rate=DOWN_RATE)
        moved = sums.gate if linear == roles.gate else sums.up
        cross = sums.down if linear == roles.down or moved is None else moved + now @ gram
        return self.method.least_squares(cross, gram, dense)
