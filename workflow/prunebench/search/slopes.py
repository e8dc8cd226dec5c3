"""The space of ATP's slopes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from prunebench.allocators.atp import Atp, largest_slope
from prunebench.allocators.base import Allocation
from prunebench.engine.anatomy import Anatomy

STEP = 0.002
"""The difference between two neighbouring slopes, as in ATP's paper."""


@dataclass(frozen=True, order=True)
class Slope:
    """A slope: the sparsity grows by `steps` times STEP from block to block."""

    steps: int

    def __str__(self) -> str:
        return f"{self.steps * STEP:.3f}"


class Space:
    """The slopes of the allocator `atp`: multiples of STEP up to the largest that keeps every block in [0, 1]."""

    name = "slopes"

    def __init__(self, model: Anatomy, sparsity: float) -> None:
        self._model, self._sparsity = model, sparsity
        # The small term undoes binary rounding: 0.006 / 0.002 is 2.9999999999999996.
        self._count = int(largest_slope(sparsity, len(model.blocks)) / STEP + 1e-9)

    def draw(self, rng: random.Random) -> Slope:
        """A random slope."""
        return Slope(rng.randint(0, self._count))

    def mutate(self, candidate: Slope, rng: random.Random) -> Slope:
        """The slope one step above or below `candidate`."""
        return Slope(min(self._count, max(0, candidate.steps + rng.choice((-1, 1)))))

    def cross(self, first: Slope, second: Slope, rng: random.Random) -> Slope:
        """The slope halfway between the two."""
        return Slope((first.steps + second.steps) // 2)

    def every(self) -> Iterable[Slope]:
        """All slopes, from 0 to the largest."""
        return map(Slope, range(self._count + 1))

    def reject(self, candidate: Slope) -> str | None:
        """None: all slopes are valid."""
        return None

    def allocate(self, candidate: Slope) -> Allocation:
        """The allocation of the allocator `atp` with the slope `candidate`."""
        return Atp(Atp.Params(slope=float(str(candidate)))).allocate(self._model, self._sparsity)
