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
    """DSA's allocation functions (`dsa.language`), with a cache of the importances of blocks."""

    name = "functions"

    def __init__(self, model: Anatomy, sparsity: float) -> None:
        self._model, self._sparsity = model, sparsity
        self._importances = Importances(model)

    def draw(self, rng: random.Random) -> language.Function:
        """A random function."""
        return language.normal_form(language.random_function(rng))

    def mutate(self, candidate: language.Function, rng: random.Random) -> language.Function:
        """`candidate` with one stage drawn again."""
        return language.normal_form(language.mutate(candidate, rng))

    def cross(self, first: language.Function, second: language.Function, rng: random.Random) -> language.Function:
        """A function with each stage from one of the two."""
        return language.normal_form(language.crossover(first, second, rng))

    def every(self) -> Iterable[language.Function]:
        """Raise TypeError: there are too many functions for a grid."""
        raise TypeError("the space of functions is too large for a grid")

    def reject(self, candidate: language.Function) -> str | None:
        """Why `candidate` cannot rank the blocks of any model, or None."""
        return language.reject(candidate)

    def allocate(self, candidate: language.Function) -> Allocation:
        """The allocation of the allocator `dsa` with the function `candidate`. Raises Invalid."""
        return Dsa(Dsa.Params(function=str(candidate))).shares(self._importances, self._model, self._sparsity)
