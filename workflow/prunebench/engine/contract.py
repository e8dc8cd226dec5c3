"""The contract of a pruning method, which the engine calls; `methods/base.py` adds a base class for masking methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure, PluginMistake
from prunebench.formulas import masks
from prunebench.patterns import Pattern
from prunebench.plugin import Plugin, Support

if TYPE_CHECKING:
    import torch

    from prunebench.cell import Cell
    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import SiteStatistic, Statistics
    from prunebench.estimate.costs import Cost, Pruning
    from prunebench.models.base import FeedForward, Site


@dataclass
class PrunedLinear:
    """One pruned weight matrix [out, in], with its zeros, and a record about it for the results (JSON)."""

    weight: torch.Tensor
    record: dict[str, Any] = field(default_factory=dict)


@dataclass
class BlockResult:
    """The result of a method for one block. Linears that it does not mention do not change."""

    linears: dict[str, PrunedLinear]
    record: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """Other tensors that changed (biases, norms), by full name."""


class Method(Plugin):
    """Base of all methods."""

    uses: ClassVar[frozenset[str]] = frozenset({"allocator", "pattern", "sparsity"})
    needs: ClassVar[frozenset[Stat]] = frozenset()
    """The statistics that the engine collects before `prune_block`; without any it runs no forward pass for them."""
    sequential: ClassVar[bool] = False
    """Whether a site's statistics come from the pruned weights of the block's earlier sites."""
    iterative: ClassVar[bool] = False
    """Whether the records of blocks have `epochs`."""
    redistributes: ClassVar[bool] = False
    """Whether zeros move between the linears of a block, so that only their sum follows the allocation."""
    dense_stream: ClassVar[bool] = False
    """Whether the engine keeps the dense model's hidden states beside the pruned model's, and for each block the inputs
    of its sites in the dense model (`block.dense_values`)."""
    baseline: ClassVar[bool] = False
    """Whether the method leaves the model as it is: pruned models are compared with it."""

    scope: ClassVar[masks.Scope] = "matrix"
    """Where an unstructured sparsity is met: in each row or in the matrix; `unit` can say it more finely."""

    @property
    def exact(self) -> bool:
        """Whether the number of zeros is exact; if not, the method may prune more weights."""
        return True

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """The rows (1 or `out`) and columns of the parts of a matrix [out, width] that each meet the sparsity."""
        return (1 if self.scope == "row" else out, width)

    def asked(self, weights: int, sparsity: float) -> int:
        """The number of zeros that `sparsity` means in a part of `weights` weights."""
        return masks.pruned_count(weights, sparsity)

    def zeros_beyond_target(self, zeros: torch.Tensor, sparsity: float, pattern: Pattern) -> int:
        """How many of the `zeros`, boolean [out, in], of a linear before pruning are more than `sparsity` means.

        They are counted in each part of the matrix that meets the sparsity (`unit`).
        """
        if sparsity and pattern.structured:
            return masks.zeros_beyond(zeros, 1, pattern.group, lambda _: pattern.group - pattern.keep)
        return masks.zeros_beyond(zeros, *self.unit(*zeros.shape), lambda weights: self.asked(weights, sparsity))

    @property
    def needs_gradients(self) -> bool:
        """Whether rule `gradients` has to run first. Parameters may make it needless although `needs` has GRADIENT."""
        return Stat.GRADIENT in self.needs

    @property
    def reads_sums(self) -> bool:
        """Whether the method reads calibration only as the statistics of sites, and not token by token."""
        return type(self).prune_block is Method.prune_block

    def cost(self, job: Pruning) -> Cost:
        """The cost of pruning one cell, for `prunebench plan`; `job` counts the work of the usual kinds of method.

        The default is Wanda's or, with Gram matrices, SparseGPT's.
        """
        if "allocator" not in self.uses:
            return job.taken_over()
        if job.text is None:
            return job.from_weights()
        exact = Stat.HESSIAN in self.needs
        return job.in_blocks("sparsegpt" if exact else "wanda", solving=exact)

    def supports(self, cell: Cell) -> Support:
        """Whether this method can do `cell`; tables and reports print the reason if it cannot."""
        return Support(True)

    def reads(self, ffn: FeedForward) -> Support:
        """Whether this method can do models with the FFN `ffn`; tables and reports print the reason if it cannot."""
        return Support(True)

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune one block. `allocation` maps each linear (name in the block) to its fraction of zeros.

        The default prunes site by site, in the order of the forward pass, and installs the weights of each site at
        once, so that with `sequential` the statistics of the next site see them.
        """
        return BlockResult(self.prune_sites(block.sites, block, statistics, allocation, pattern))

    def prune_sites(
        self,
        sites: Iterable[Site],
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> dict[str, PrunedLinear]:
        """Prune `sites` of the block one after the other and install their weights. Returns the pruned linears.

        The sums of a site are freed when it is done, or earlier by a method that deletes its `statistic`.
        """
        pruned: dict[str, PrunedLinear] = {}
        for site in sites:
            weights = {linear: block.weight(linear) for linear in site.linears}
            sparsities = {linear: allocation[linear] for linear in site.linears}
            try:
                result = self.prune_site(weights, statistics.take(site.name), sparsities, pattern)
            except CellFailure as failure:
                raise CellFailure(f"{', '.join(site.linears)}: {failure}") from None
            block.install({linear: entry.weight for linear, entry in result.items()})
            # Many methods return float64, which takes four times the memory of the weights that are stored.
            pruned |= {linear: replace(entry, weight=block.weight(linear)) for linear, entry in result.items()}
        return pruned

    def prune_site(
        self,
        weights: Mapping[str, torch.Tensor],
        statistic: SiteStatistic,
        sparsities: Mapping[str, float],
        pattern: Pattern,
    ) -> dict[str, PrunedLinear]:
        """Prune the linears [out, in] that share one input, so that work on the input alone is done once.

        Weights that are 0 must stay 0 and count as pruned, as in `masks.prune_mask`.
        """
        raise PluginMistake(f"method {self.name!r} defines neither prune_site nor prune_block")
