"""The space of ATP's slopes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from prunebench.allocators.atp import Atp, largest_slope
from prunebench.allocators.base import Allocation
from prunebench.engine.anatomy import Anatomy

STEP = 0.002
"""Between two slopes, as in ATP's paper."""


@dataclass(frozen=True, order=True)
class Slope:
    """`steps` times STEP more sparsity from block to block."""

    steps: int

    def __str__(self) -> str:
        return f"{self.steps * STEP:.3f}"


class Space:
    """The slopes of allocator `atp`: multiples of STEP up to the steepest that keeps every block within bounds."""

    def __init__(self, model: Anatomy, sparsity: float) -> None:
        self._model, self._sparsity = model, sparsity
        # The small term undoes binary rounding: 0.006 / 0.002 is 2.9999999999999996.
        self._count = int(largest_slope(sparsity, len(model.blocks)) / STEP + 1e-9)

    def draw(self, rng: random.Random) -> Slope:
        """Any."""
        return Slope(rng.randint(0, self._count))

    def mutate(self, candidate: Slope, rng: random.Random) -> Slope:
        """A step up or down."""
        return Slope(min(self._count, max(0, candidate.steps + rng.choice((-1, 1)))))

    def cross(self, one: Slope, other: Slope, rng: random.Random) -> Slope:
        """Halfway."""
        return Slope((one.steps + other.steps) // 2)

    def every(self) -> Iterable[Slope]:
        """From flat to steepest."""
        return map(Slope, range(self._count + 1))

    def reject(self, candidate: Slope) -> str | None:
        """All are valid."""
        return None

    def allocate(self, candidate: Slope) -> Allocation:
        """By the allocator `atp`."""
        return Atp(Atp.Params(slope=float(str(candidate)))).allocate(self._model, self._sparsity)
