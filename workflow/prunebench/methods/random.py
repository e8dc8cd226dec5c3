"""Random pruning, the control: a method that does not beat it has learnt nothing from the model."""

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
    """Zero random weights of each matrix, exactly as many as the sparsity means.
    It needs no data, and weights that stay are not changed.

        grid:
          - {method: random, sparsity: 0.5}

    Every weight gets a random number, and the lowest of the matrix go; for n:m the lowest of each group. Each matrix
    has its own generator on the CPU, started from the cell's seed, the number of its block and its name: the same seed
    gives the same mask on every device, and after a resume.
    """

    name = "random"
    title = "Random"
    uses: ClassVar[frozenset[str]] = Method.uses | {"seed"}

    def prune_block(
        self, block: BlockView, statistics: Statistics, allocation: Mapping[str, float], pattern: Pattern
    ) -> BlockResult:
        """Draw a mask for every linear, from a generator of its own, so that a resumed job draws the same masks."""
        pruned = {}
        for linear, sparsity in allocation.items():
            weight = block.weight(linear)
            draw = hashlib.sha256(f"{block.seed} {block.index} {linear}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(draw[:7], "big"))
            # The CPU draws: GPUs have other generators.
            scores = torch.rand(weight.shape, generator=generator, dtype=torch.float64)
            mask = masks.prune_mask(scores, weight, sparsity, pattern, scope=self.scope)
            pruned[linear] = PrunedLinear(masks.zeroed(weight, mask.to(weight.device)))
        return BlockResult(pruned)
