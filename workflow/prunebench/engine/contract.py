"""The contract of a pruning method, which the engine calls; methods/base.py adds what most methods build on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.engine.stat import Stat
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
    """One pruned weight matrix [out, in] (zeros in place), and what the method wants to record about it as JSON."""

    weight: torch.Tensor
    record: dict[str, Any] = field(default_factory=dict)


@dataclass
class BlockResult:
    """What a method made of one block. Linears that it does not mention stay as they are."""

    linears: dict[str, PrunedLinear]
    record: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """Other tensors that changed (biases, norms), by their full names in the model."""


class Method(Plugin):
    """Base of all methods."""

    uses: ClassVar[frozenset[str]] = frozenset({"allocator", "pattern", "sparsity"})
    needs: ClassVar[frozenset[Stat]] = frozenset()
    """What is collected before `prune_block`. Without statistics of activations nothing runs forward for them."""
    sequential: ClassVar[bool] = False
    """Whether a site's statistics must already see the pruned weights of the block's earlier sites."""
    iterative: ClassVar[bool] = False
    """Whether its block records have `epochs`."""
    redistributes: ClassVar[bool] = False
    """Whether it moves zeros between the linears of a block, whose sum is then what the allocation says."""
    dense_stream: ClassVar[bool] = False
    """Whether the dense model's hidden states are carried along beside the pruned model's."""
    baseline: ClassVar[bool] = False
    """Whether it leaves the model as it is: what pruned models are compared with."""

    scope: ClassVar[masks.Scope] = "matrix"
    """Where it counts the zeros of an unstructured sparsity; `unit` is finer where neither word fits."""

    @property
    def exact(self) -> bool:
        """Whether it meets the sparsity to a weight; if not, it may prune more."""
        return True

    def unit(self, out: int, width: int) -> tuple[int, int]:
        """Rows (1 or `out`) and columns of the parts of a matrix [out, width] each of which meets the sparsity."""
        return (1 if self.scope == "row" else out, width)

    def asked(self, weights: int, sparsity: float) -> int:
        """How many zeros `sparsity` means in a part of so many weights."""
        return masks.pruned_count(weights, sparsity)

    def zeros_beyond_target(self, zeros: torch.Tensor, sparsity: float, pattern: Pattern) -> int:
        """How many of the `zeros`, boolean [out, in], that a linear has before pruning exceed what it is asked for.

        They are counted where the method counts: of a part that has more zeros than asked for, none can go elsewhere.
        """
        if sparsity and pattern.structured:
            return masks.zeros_beyond(zeros, 1, pattern.group, lambda _: pattern.group - pattern.keep)
        return masks.zeros_beyond(zeros, *self.unit(*zeros.shape), lambda weights: self.asked(weights, sparsity))

    @property
    def needs_gradients(self) -> bool:
        """Whether rule `gradients` has to run first. Parameters may make needless what `needs` says of all."""
        return Stat.GRADIENT in self.needs

    def cost(self, job: Pruning) -> Cost:
        """What pruning one cell takes, for `prunebench plan`; `job` counts what the usual kinds of method do.

        The default is Wanda's or, with Gram matrices, SparseGPT's.
        """
        if "allocator" not in self.uses:
            return job.taken_over()
        if job.text is None:
            return job.from_weights()
        exact = Stat.HESSIAN in self.needs
        return job.in_blocks("sparsegpt" if exact else "wanda", solving=exact)

    def supports(self, cell: Cell) -> Support:
        """Whether this method can do `cell`; the reason is printed in tables and reports."""
        return Support(True)

    def reads(self, ffn: FeedForward) -> Support:
        """Whether this method can do models with such an FFN; the reason is printed as that of `supports` is."""
        return Support(True)

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune one block. `allocation` maps each linear of the block to its fraction of zeros.

        The default prunes site by site, in the order of the forward pass, and installs each site's weights at once,
        so that with `sequential` the next site's statistics see them.
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
        """Prune some of the block's sites, one after the other, and install their weights."""
        pruned: dict[str, PrunedLinear] = {}
        for site in sites:
            weights = {linear: block.weight(linear) for linear in site.linears}
            sparsities = {linear: allocation[linear] for linear in site.linears}
            result = self.prune_site(weights, statistics[site.name], sparsities, pattern)
            block.install({linear: entry.weight for linear, entry in result.items()})
            pruned |= result
        return pruned

    def prune_site(
        self,
        weights: Mapping[str, torch.Tensor],
        statistic: SiteStatistic,
        sparsities: Mapping[str, float],
        pattern: Pattern,
    ) -> dict[str, PrunedLinear]:
        """Prune the linears [out, in] that share one input; whatever depends on the input alone is computed once.

        Weights that are 0 stay so and count as pruned (`masks.prune_mask` sees to it).
        """
        raise TypeError(f"method {self.name!r} defines neither prune_site nor prune_block")
