"""What a search can find: candidates, how they vary, and the allocation that each stands for."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from prunebench.allocators.atp import Atp, largest_slope
from prunebench.allocators.base import Allocation
from prunebench.allocators.dsa import Dsa
from prunebench.engine.anatomy import Anatomy
from prunebench.search import language
from prunebench.search.importance import Importances

Candidate = Any
"""What a space consists of; `str` gives the text that the allocator takes."""

STEP = 0.002
"""Between two slopes, as in ATP's paper."""


class Space(Protocol):
    """A set of candidates for one model and sparsity. All randomness comes from the generator that is handed in."""

    def __init__(self, model: Anatomy, sparsity: float) -> None: ...

    def draw(self, rng: random.Random) -> Candidate:
        """A random candidate."""

    def mutate(self, candidate: Candidate, rng: random.Random) -> Candidate:
        """A neighbour of `candidate`."""

    def cross(self, one: Candidate, other: Candidate, rng: random.Random) -> Candidate:
        """A child of two candidates."""

    def every(self) -> Iterable[Candidate]:
        """All candidates, in order; TypeError where there are too many to ask for that."""

    def reject(self, candidate: Candidate) -> str | None:
        """Why `candidate` is invalid whatever the model, if so."""

    def allocate(self, candidate: Candidate) -> Allocation:
        """The allocation that it stands for. Raises Invalid, with the reason, if it means none on this model."""


class Functions:
    """DSA's allocation functions (`language`); what they make of a block is remembered."""

    def __init__(self, model: Anatomy, sparsity: float) -> None:
        self._model, self._sparsity = model, sparsity
        self._importances = Importances(model)

    def draw(self, rng: random.Random) -> language.Function:
        """Each stage drawn for itself."""
        return language.canonical(language.random_function(rng))

    def mutate(self, candidate: language.Function, rng: random.Random) -> language.Function:
        """One stage drawn anew."""
        return language.canonical(language.mutate(candidate, rng))

    def cross(self, one: language.Function, other: language.Function, rng: random.Random) -> language.Function:
        """Each stage from one of the two."""
        return language.canonical(language.crossover(one, other, rng))

    def every(self) -> Iterable[language.Function]:
        """Too many."""
        raise TypeError("the space of functions is too large for a grid")

    def reject(self, candidate: language.Function) -> str | None:
        """The static check."""
        return language.reject(candidate)

    def allocate(self, candidate: language.Function) -> Allocation:
        """By the allocator `dsa`."""
        return Dsa(Dsa.Params(function=str(candidate))).shares(self._importances, self._model, self._sparsity)


@dataclass(frozen=True, order=True)
class Slope:
    """`steps` times STEP more sparsity from block to block."""

    steps: int

    def __str__(self) -> str:
        return f"{self.steps * STEP:.3f}"


class Slopes:
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


SPACES: dict[str, type[Space]] = {"functions": Functions, "slopes": Slopes}
