"""Reconstruction: after any mask, gradients bring the outputs of each block back to those of the dense model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from prunebench.engine.contract import BlockResult, Method
from prunebench.engine.stat import Stat
from prunebench.methods.admm import ADMM
from prunebench.methods.alps import ALPS
from prunebench.methods.dense_fit import DenseFit
from prunebench.methods.magnitude import Magnitude
from prunebench.methods.ria import RIA
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.methods.wanda import Wanda
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    import torch

    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import Statistics
    from prunebench.estimate.costs import Cost, Pruning

SOLVERS: dict[str, type[Method]] = {
    plugin.name: plugin for plugin in (Magnitude, Wanda, RIA, SparseGPT, ADMM, ALPS, DenseFit)
}


class Reconstruct(Method):
    """Prune a block with another method, then let its kept weights learn to give the outputs of the dense block.
    The mask is that of the other method and stays.

        methods:
          reconstruct_sparsegpt: {method: reconstruct, params: {solver: sparsegpt, epochs: 20}}

    The loss of a sample is ||y - y'||^2 / ||y||^2, where y are the outputs of the unpruned block and y' those of the
    pruned one. `states` says which hidden states enter them: with `dense`, as in the paper, those of the dense model;
    with `mixed` the pruned block sees the pruned model's states, so that it also makes up for the blocks before it.
    With `scope: submodule` the attention learns first, towards the outputs of its last linear, and then the FFN
    towards those of the block, with the weights that the attention has learned.

    AdamW takes a step for each sample, `epochs` times for all, on copies of the weights in float32, with a learning
    rate that falls linearly to 0. If the mean error over the samples is not below that of the solver at the end, the
    solver's weights are taken; the record has both errors. Norms and biases do not learn.

    Cost: that of the solver; in each step one pass of the block forward and backward; five forward passes over all
    samples, for the dense model's states, the targets, the errors on record and the norms of inputs. Memory: the
    targets, the hidden states of the dense model and its values of a block (2 GiB at most; more go to files), the graph
    of one sample's backward pass, and 16 bytes for each weight of the block.

    Measured once on the tuning split (SmolLM2-135M, 70% of the first 10 of 30 blocks, 16 x 512 tokens, perplexity on
    c4_type / wikipedia, CPU seconds): Wanda alone 474 / 165 (12 s), and with 4 epochs 145 / 71 (111 s); an earlier
    DenseFit alone 70.4 / 42.5 (70 s), and with preset `polish` 68.2 / 40.6 (146 s). No other learning rates were
    compared.

    Differences: the paper takes steps on batches of samples, and its learning rate depends on the model. LaCo is
    `states: mixed`, Free Lunch `scope: submodule`; each has its own schedule.
    """

    class Params(Parameters):
        """Parameters of reconstruction."""

        solver: Literal["magnitude", "wanda", "ria", "sparsegpt", "admm", "alps", "dense_fit"] = Field(
            "wanda", description="the method, with its default parameters, that gives the mask and the first weights"
        )
        states: Literal["dense", "mixed", "pruned"] = "dense"
        """whose hidden states enter the blocks; mixed: the pruned model's the pruned block, the dense model's the
        unpruned block"""
        scope: Literal["block", "submodule"] = "block"
        """what learns at once: the block, or first its attention and then its FFN"""
        epochs: PositiveInt = Field(10, description="the number of times each sample is learned from")
        learning_rate: PositiveFloat = Field(2e-4, description="AdamW's learning rate in the first step")
        decay: float = Field(0.0, ge=0, description="AdamW's decay of weights")

    name = "reconstruct"
    title = "Reconstruction"
    reference = (
        "Shin et al. 2024, Rethinking Pruning Large Language Models: "
        "Benefits and Pitfalls of Reconstruction Error Minimization"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "polish": {"solver": "dense_fit", "states": "mixed", "epochs": 3, "learning_rate": 1e-4},
    }
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM})
    dense_stream = True

    def zeros_beyond_target(self, zeros: torch.Tensor, sparsity: float, pattern: Pattern) -> int:
        """How many `zeros` the solver could not have chosen (see `Method.zeros_beyond_target`)."""
        return self._solver().zeros_beyond_target(zeros, sparsity, pattern)

    def cost(self, job: Pruning) -> Cost:
        """The solver's cost, and then steps of learning in every block."""
        assert job.text is not None
        learned = job.learned(self.params.epochs * (job.text.tokens // job.text.seqlen))
        return learned.after(self._solver().cost(job))

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune the block with the solver, then learn. Raises CellFailure if the solver does, or if its error is not
        finite."""
        from prunebench.methods.reconstruct_learning import parts

        params, solver = self.params, self._solver()
        learning = parts(block, params.states, params.scope)
        if not solver.needs <= self.needs:
            at_once = [] if solver.sequential else [site.name for site in block.sites]
            statistics = block.statistics(solver.needs, at_once)
        start = solver.prune_block(block, statistics, allocation, pattern)
        weights = {linear: entry.weight for linear, entry in start.linears.items()}
        errors = {}
        for name, part in learning.items():
            learned, errors[name] = part.learn(
                weights, epochs=params.epochs, learning_rate=params.learning_rate, decay=params.decay
            )
            weights |= learned
        linears = {linear: replace(entry, weight=weights[linear]) for linear, entry in start.linears.items()}
        return BlockResult(linears, {**start.record, "errors": errors})

    def _solver(self) -> Method:
        """The method that chooses the mask."""
        return SOLVERS[self.params.solver]()
