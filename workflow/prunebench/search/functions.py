"""The space of DSA's allocation functions."""

from __future__ import annotations

import random
from collections.abc import Iterable

from prunebench.allocators.base import Allocation
from prunebench.allocators.dsa import Dsa
from prunebench.dsa import language
from prunebench.dsa.importance import Importances
from prunebench.engine.anatomy import Anatomy


class Space:
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
