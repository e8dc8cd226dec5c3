"""Block-wise reconstruction: after any mask, gradients bring the block's output back to that of the dense model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.methods.magnitude import Magnitude
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.methods.wanda import Wanda
from prunebench.patterns import Pattern
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import Statistics
    from prunebench.estimate.costs import Cost, Pruning

SOLVERS: dict[str, type[Method]] = {"magnitude": Magnitude, "wanda": Wanda, "sparsegpt": SparseGPT}


class Reconstruct(Method):
    """Prune a block with another method, then let its kept weights learn to give the dense block's output.
    The mask is that of the other method and stays.

        methods:
          reconstruct_sparsegpt: {method: reconstruct, params: {solver: sparsegpt, epochs: 20}}

    The loss of a sample is ||y - y'||^2 / ||y||^2. By default y' is the output of the pruned block in the pruned model,
    and y that of the dense block in the dense model, so that a block also makes up for the blocks before it; `inputs`
    and `targets` change either. AdamW takes a step for each sample, `epochs` times for all, on copies of the weights in
    float32, with a learning rate that falls linearly to 0. If the mean error over the samples is not below that of the
    solver at the end, the solver's weights are taken. Norms and biases do not learn.

    Cost: that of the solver; in each step one pass of the block forward and backward; four forward passes over all
    samples, for the dense model's states, the targets and the errors on record. Memory: the targets, the hidden states
    of the dense model, the graph of one sample's backward pass, and 16 bytes for each weight of the block.

    Differences: Rethinking Pruning takes inputs and targets both from the pruned or both from the dense model (Adam, 10
    epochs), LaCo the ones of the default here (10 epochs). Free Lunch also fits attention and FFN one by one, which is
    not implemented.
    """

    class Params(Parameters):
        """Parameters of block-wise reconstruction."""

        solver: Literal["magnitude", "wanda", "sparsegpt"] = Field(
            "wanda", description="chooses mask and first weights"
        )
        inputs: Literal["dense", "pruned"] = "pruned"
        """the model whose hidden states enter the pruned block"""
        targets: Literal["dense", "pruned"] = "dense"
        """the model whose hidden states enter the dense block that gives the targets"""
        epochs: PositiveInt = Field(10, description="the number of times each sample is learned from")
        learning_rate: PositiveFloat = Field(2e-4, description="AdamW's learning rate in the first step")
        decay: float = Field(0.0, ge=0, description="AdamW's decay of weights")

    name = "reconstruct"
    title = "Block reconstruction"
    reference = (
        "Shin et al. 2024, Rethinking Pruning Large Language Models: "
        "Benefits and Pitfalls of Reconstruction Error Minimization"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM})
    dense_stream = True

    @property
    def exact(self) -> bool:
        """Whether the solver meets the sparsity exactly."""
        return self._solver().exact

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """The parts of a matrix in which the solver meets the sparsity."""
        return self._solver().unit(out, width)

    def cost(self, job: Pruning) -> Cost:
        """Steps of learning in every block."""
        assert job.text is not None
        return job.learned(self.params.epochs * (job.text.tokens // job.text.seqlen))

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune the block with the solver, then learn. Raises CellFailure if the loss is not finite."""
        from prunebench.methods.reconstruct_learning import Reconstruction

        params, solver = self.params, self._solver()
        dense = {"dense_inputs": params.inputs == "dense", "dense_targets": params.targets == "dense"}
        problem = Reconstruction(block, **dense)
        if not solver.needs <= self.needs:
            statistics = block.statistics(solver.needs, [site.name for site in block.sites])
        start = solver.prune_block(block, statistics, allocation, pattern).linears
        weights = {linear: entry.weight for linear, entry in start.items()}
        before = problem.error(weights)
        learned = problem.learn(weights, epochs=params.epochs, learning_rate=params.learning_rate, decay=params.decay)
        after = problem.error(learned)
        # The comparison is negated because every comparison with NaN is false.
        best = weights if not after < before else learned
        linears = {linear: PrunedLinear(weight, start[linear].record) for linear, weight in best.items()}
        return BlockResult(linears, {"error": {"solver": before, "learned": after}})

    def _solver(self) -> Method:
        """The method that chooses the mask."""
        return SOLVERS[self.params.solver]()
