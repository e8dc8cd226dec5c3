"""Random pruning: the control. A method that does not beat it has learnt nothing from the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.formulas import masks
from prunebench.lazy import torch
from prunebench.patterns import Pattern

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import Statistics


class Random(Method):
    """Zero weights drawn at random, exactly as many as the sparsity asks of each matrix. No weight update.

    Needs no data. Every weight gets a random number, and the lowest go: of the whole matrix, or for n:m of each group.
    Each matrix has its own generator, started from the cell's seed, the number of its block and its name, and numbers
    are drawn on the CPU: the same seed gives the same mask on every device, and after a resume.
    """

    name = "random"
    title = "Random"
    uses: ClassVar[frozenset[str]] = Method.uses | {"seed"}

    def prune_block(
        self, block: BlockView, statistics: Statistics, allocation: Mapping[str, float], pattern: Pattern
    ) -> BlockResult:
        """Every linear draws for itself, so that a resumed job draws the same."""
        pruned = {}
        for linear, sparsity in allocation.items():
            weight = block.weight(linear)
            draw = hashlib.sha256(f"{block.seed} {block.index} {linear}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(draw[:7], "big"))
            # Drawn on the CPU: GPUs have other generators.
            scores = torch.rand(weight.shape, generator=generator, dtype=torch.float64)
            mask = masks.prune_mask(scores, weight, sparsity, pattern, scope=self.scope)
            pruned[linear] = PrunedLinear(masks.zeroed(weight, mask.to(weight.device)))
        return BlockResult(pruned)
