"""SparseLLM: prune a block's FFN as a whole, through auxiliary variables for the activations between its linears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure
from prunebench.lazy import torch
from prunebench.methods import sparsellm_updates as updates
from prunebench.methods.sparsegpt import SOLVE_DTYPE, SolveDType, SparseGPT, check_damping
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
"""The fraction of the largest singular value below which a float32 Gram matrix holds noise: the root of 2^-23."""
DIVERGED = 100.0
"""The relative error of the FFN's output at which a block counts as lost; an output of zeros has 1."""
RELEASED: dict[str, Any] = {
    "solver_preset": "released",
    "damping_mode": "accumulating",
    "ridge": None,
    "s_step": "gradient",
    "keep_best": False,
}


class SparseLLM(Method):
    """Prune a block's FFN such that the output of the whole FFN stays, not that of each linear.
    The linears of the attention are pruned by the inner solver alone (SparseGPT by default).

        methods:
          sparsellm_8: {method: sparsellm, preset: tuned, params: {epochs: 8}}

    The objective, summed over all calibration tokens, has the auxiliary variables z (output of the up projection), s
    (output of the gate, if there is one) and p (input of the down projection),

        alpha ||z - W_up X||^2 + alpha ||s - W_gate X||^2 + gamma ||p - act(s) z||^2 + beta ||Y - W_down p||^2

    where X and Y are the FFN's inputs and outputs in the unpruned block; without gate the third term is
    gamma ||p - act(z)||^2. The first epoch prunes every linear with the inner solver. Each further epoch fits dense
    weights to z, s and p by least squares, prunes them with the inner solver, and updates p and z in closed form and s
    by Gauss-Newton steps. The epoch whose pruned FFN comes nearest to Y is taken (`keep_best`), so that no block ends
    further from Y than with SparseGPT. Weights that are 0 before pruning are 0 in every epoch.

    The paper's fits use pseudo-inverses, which on few tokens fit noise in the weak directions of X and p. Here they
    have a small penalty (`ridge`), which draws the weights to zero, or with `anchor: dense` to the unpruned weights.

    Cost beside SparseGPT: one forward pass, and in each epoch eight products of all tokens with a matrix of the FFN's
    size, a Gram matrix and a factorisation of the FFN's width. Least squares uses Gram matrices in float64, p a solve
    of the hidden size (Woodbury); with `solve_dtype: float32` both are in float32, as is all that the inner solver does
    with a Gram matrix. z and s are float32; what exceeds `memory` lies in files, so that memory does not grow with the
    calibration set.

    Differences from the published code (presets `released`, and `released_opt` for models without gate): it updates s
    by two gradient steps of length 0.01, which diverge where |act'(s) z| is large, so that the block fails or
    perplexity explodes. It damps the Gram matrix of X once more in every epoch, refits without a penalty, keeps the
    last epoch, gives blocks 1, 30 and 31 of any model one epoch only, and without gate refits W_down by ten gradient
    steps. Its half precision, and a pseudo-inverse that keeps directions that are noise (below 3.5e-4 of the largest),
    are not repeated. The paper's tables prune the first half of the blocks: allocator `first_half`.
    """

    class Params(Parameters):
        """Parameters of SparseLLM."""

        alpha: PositiveFloat = Field(5.0, description="weight of ||z - W_up X||^2 and of ||s - W_gate X||^2")
        beta: PositiveFloat = Field(5.0, description="weight of ||Y - W_down p||^2")
        gamma: PositiveFloat = Field(5.0, description="weight of ||p - act(s) z||^2, without gate ||p - act(z)||^2")
        epochs: PositiveInt = Field(4, description="the number of times the FFN is pruned; 1: by the solver alone")
        plain_blocks: tuple[NonNegativeInt, ...] = Field((), description="blocks that get one epoch")
        solver: Literal["sparsegpt", "wanda"] = Field("sparsegpt", description="prunes each linear in each epoch")
        solver_preset: Literal["paper", "released"] = "paper"
        """the preset of the inner solver"""
        damping: float = Field(0.01, ge=0, description="SparseGPT's lambda, as a fraction of the mean diagonal")
        damping_mode: Literal["fixed", "accumulating"] = "fixed"
        """accumulating: the Gram matrix of the FFN's inputs is damped once more in every epoch"""
        refit_down: Literal["least_squares", "gradient"] = "least_squares"
        """how W_down is fitted; gradient: ten steps of length 0.01 on the mean squared error, from pruned weights"""
        ridge: float | None = Field(
            0.01,
            ge=0,
            description="penalty of least squares, as a fraction of the Gram matrix's mean diagonal, or null",
        )
        anchor: Literal["zero", "dense"] = "zero"
        """where the penalty pulls weights to; without a penalty, directions that are noise in float32 are left out"""
        s_step: Literal["newton", "gradient"] = "newton"
        """gradient: two steps of length 0.01, which diverge where the loss is steep"""
        targets: Literal["before", "after"] = "before"
        """whether the FFN's inputs and outputs are taken before or after the block's attention is pruned"""
        keep_best: bool = True
        """take the epoch with the least reconstruction loss, not the last one"""
        memory: float = Field(2.0, ge=0, description="GiB of a block's variables in memory; the rest goes to files")
        solve_dtype: SolveDType = SOLVE_DTYPE

        @model_validator(mode="after")
        def _damped_enough(self) -> Self:
            check_damping("ridge", self.ridge, self.solve_dtype)
            if self.solver == "sparsegpt":
                check_damping("damping", self.damping, self.solve_dtype)
            return self

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
        """Whether the inner solver meets the sparsity exactly."""
        return self._solver().exact

    def cost(self, job: Pruning) -> Cost:
        """Attention as SparseGPT, the FFN in epochs; its variables x, y as computed, z and s in float32."""
        model, text = job.model, job.text
        assert text is not None
        variables = text.tokens * (2.0 * model.sizes.hidden * text.item + (2 if model.gated else 1) * 4.0 * model.ffn)
        resident = min(variables, self.params.memory * 2**30)
        streamed = job.in_blocks(
            self.name, solving=True, solve_dtype=self.params.solve_dtype, epochs=self.params.epochs
        )
        return replace(streamed, host=streamed.host + resident, scratch=variables - resident)

    def reads(self, ffn: FeedForward) -> Support:
        """Whether the update of z is known (gated FFNs and ReLU); with one epoch nothing is updated."""
        known = self.params.epochs == 1 or ffn.gate is not None or ffn.relu
        return Support(True) if known else Support(False, NOT_RELU)

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune the attention with the inner solver, then the FFN in epochs. Raises CellFailure if the FFN diverges."""
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
        """How many `zeros` the inner solver could not have chosen (see `Method.zeros_beyond_target`)."""
        return self._solver().zeros_beyond_target(zeros, sparsity, pattern)

    def _solver(self, repeats: int = 1) -> SparseGPT | Wanda:
        """The inner solver, with a damping that stands for `repeats` dampings of the same Gram matrix."""
        if self.params.solver == "wanda":
            return Wanda(Wanda.configure(self.params.solver_preset))
        # This sum of powers is the damping itself, to the last bit, if `repeats` is 1.
        damping = self.params.damping * sum((1 + self.params.damping) ** power for power in range(repeats))
        overrides = {"damping": damping, "solve_dtype": self.params.solve_dtype}
        return SparseGPT(SparseGPT.configure(self.params.solver_preset, overrides))

    @property
    def solve_dtype(self) -> torch.dtype:
        """The dtype of least squares and of the solution for p."""
        dtype: torch.dtype = getattr(torch, self.params.solve_dtype)
        return dtype

    def solver(self, epoch: int, inputs: bool) -> SparseGPT | Wanda:
        """The inner solver of an epoch, for the linears that read the FFN's `inputs`, or for the down projection."""
        accumulates = inputs and self.params.damping_mode == "accumulating"
        return self._solver(epoch + 1 if accumulates else 1)

    def penalties(self, activation: updates.Activation) -> Penalties:
        """The weights of the objective's terms, and the update of s."""
        from prunebench.methods.sparsellm_sweep import Penalties

        alpha, gamma = self.params.alpha, self.params.gamma
        step = (
            partial(updates.update_s, steps=NEWTON_STEPS)
            if self.params.s_step == "newton"
            else partial(updates.update_s_by_gradient, steps=S_STEPS, rate=S_RATE)
        )
        s_step = partial(step, activation=updates.smooth(activation), alpha=alpha, gamma=gamma)
        return Penalties(alpha, self.params.beta, gamma, s_step, self.solve_dtype)

    def least_squares(self, cross: torch.Tensor, gram: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        """Fit W [out, in] to `cross` and `gram` (see `updates.refit`); `dense` is the unpruned weight."""
        if self.params.ridge is None:
            return updates.refit_by_rank(cross, gram, RANK_CUT)
        if self.params.anchor == "zero":
            return updates.refit(cross, gram, self.params.ridge)
        return dense + updates.refit(cross - dense @ gram, gram, self.params.ridge)


@dataclass
class _Problem:
    """The FFN of one block, its statistics and its auxiliary variables."""

    method: SparseLLM
    block: BlockView
    sites: list[Site]
    """The site of the FFN's inputs, and the site of the down projection."""
    statistics: dict[str, SiteStatistic]
    auxiliaries: Auxiliaries

    def solve(
        self, allocation: Mapping[str, float], pattern: Pattern
    ) -> tuple[dict[str, PrunedLinear], dict[str, Any]]:
        """Return the pruned linears of the best or last epoch, and the block's record: the losses of each epoch."""
        from prunebench.engine.placement.memory import give_back_freed_pages
        from prunebench.methods.sparsellm_sweep import FfnWeights, Products
        from prunebench.runtime.progress import within

        params = self.method.params
        dense = self._weights()
        kept, lowest, stopped, sums = 0, inf, None, None
        best: dict[str, torch.Tensor] = {}
        epochs: list[dict[str, Any]] = []
        for epoch in range(params.epochs):
            within(epoch / params.epochs, f"epoch {epoch + 1} of {params.epochs}")
            try:
                self._prune(epoch, dense, sums, allocation, pattern)
                # Freed pages of one phase do not fit the tensors of the next.
                give_back_freed_pages()
                ffn = FfnWeights.of(self.block)
                sums = None  # The old ones are freed first: they are the largest tensors here.
                sums = Products.zeros(ffn) if epoch + 1 < params.epochs else None
                losses = self.auxiliaries.sweep(ffn, self.method.penalties(ffn.activation), sums)
                if not epoch or not params.keep_best or losses.reconstruction < lowest:
                    kept, lowest, best = epoch, losses.reconstruction, self._weights()
                # The condition is negated because every comparison with NaN is false.
                if not (losses.reconstruction < DIVERGED and all(map(isfinite, losses.terms.values()))):
                    raise CellFailure(
                        f"SparseLLM diverged in epoch {epoch + 1} of block {self.block.index}: error of the FFN "
                        f"{losses.reconstruction:.3g} of 1, loss {sum(losses.terms.values()):.3g}"
                    )
            except CellFailure as failure:
                # The weights of an earlier epoch are good, and the first epoch is the inner solver itself.
                if not params.keep_best or not lowest < DIVERGED:
                    raise
                stopped = str(failure)
                break
            epochs.append(asdict(losses))
            give_back_freed_pages()
        record = {"epochs": epochs, "kept": kept + 1, **({"stopped": stopped} if stopped else {})}
        return {linear: PrunedLinear(weight) for linear, weight in best.items()}, record

    def _weights(self) -> dict[str, torch.Tensor]:
        """The current weights of the FFN's linears."""
        return {linear: self.block.weight(linear) for site in self.sites for linear in site.linears}

    def _prune(
        self,
        epoch: int,
        dense: Mapping[str, torch.Tensor],
        sums: Products | None,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> None:
        """Prune and install the unpruned weights (`dense`), or with `sums` those that fit the auxiliary variables."""
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
        """The weights of a site that fit the auxiliary variables best; `gram` is X X^T of the site's inputs X."""
        dtype = self.method.solve_dtype
        gram = gram.to(dtype)
        return {linear: self._fit(linear, weight.to(dtype), gram, sums) for linear, weight in dense.items()}

    def _fit(self, linear: str, dense: torch.Tensor, gram: torch.Tensor, sums: Products) -> torch.Tensor:
        if not gram.diagonal().any():
            return dense  # inputs that are always 0 say nothing about the weights
        roles, tokens = self.block.ffn, len(self.auxiliaries.x)
        current = self.block.weight(linear).to(gram.dtype)
        moved = sums.gate if linear == roles.gate else sums.up
        if linear != roles.down and moved is not None:
            return self.method.least_squares(moved.to(gram.dtype) + current @ gram, gram, dense)
        cross = sums.down.to(gram.dtype)
        if self.method.params.refit_down == "gradient":
            return updates.refit_by_gradient(current, cross, gram, tokens, steps=DOWN_STEPS, rate=DOWN_RATE)
        return self.method.least_squares(cross, gram, dense)
