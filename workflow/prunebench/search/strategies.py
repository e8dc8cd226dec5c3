"""How a search goes through its space: evolution as in DSA's Algorithm 1, random draws, or every point of a grid.

Pure: what a candidate is and what it is worth are the affair of a `Space` and a `Judge`. A strategy is a function of
the random stream and of the values it is told, so that a run with the same seed proposes the same candidates.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from prunebench.search.spaces import Candidate, Space


class Spent(Exception):
    """The search is over: its budget is used up, or nothing new is being found."""


class Scored(NamedTuple):
    """A candidate and what it is worth."""

    value: float
    """Lower is better; infinite if the model broke."""
    candidate: Candidate
    key: Hashable
    """Equal for candidates that come to the same allocation."""


class Judge(Protocol):
    """Says what a candidate is worth."""

    def __call__(self, candidate: Candidate) -> Scored | None:
        """None if `candidate` is invalid. Raises Spent when there is no budget left."""


@dataclass(frozen=True)
class Evolution:
    """DSA's Algorithm 1 (Li et al. 2024, App. C.1).

    A population of the best; in every round a part of it is sampled, a parent is drawn from the best of the sample, and
    one mutant of it and one crossover with another of these best join the population.
    """

    population: int = 20
    sample_ratio: float = 0.9
    parents: int = 5

    def run(self, space: Space, judge: Judge, rng: random.Random) -> None:
        """Propose until `judge` raises Spent."""
        living: dict[Hashable, Scored] = {}
        while len(living) < self.population:
            _join(living, judge(space.draw(rng)))
        while True:
            sample = rng.sample(_ranked(living), max(1, round(self.sample_ratio * len(living))))
            best = sorted(sample, key=_value)[: self.parents]
            parent = rng.choice(best)
            partner = rng.choice([one for one in best if one is not parent] or best)
            for child in (
                space.mutate(parent.candidate, rng),
                space.cross(parent.candidate, partner.candidate, rng),
            ):
                _join(living, judge(child))
            living = {one.key: one for one in _ranked(living)[: self.population]}


@dataclass(frozen=True)
class RandomDraws:
    """The control: independent draws. An evolution that does not beat it has learnt nothing from its evaluations."""

    def run(self, space: Space, judge: Judge, rng: random.Random) -> None:
        """Propose until `judge` raises Spent."""
        while True:
            judge(space.draw(rng))


@dataclass(frozen=True)
class Grid:
    """Every candidate once."""

    def run(self, space: Space, judge: Judge, rng: random.Random) -> None:
        """Propose all; returns when there are no more, or `judge` raises Spent."""
        for candidate in space.every():
            judge(candidate)


STRATEGIES: dict[str, type[Evolution | RandomDraws | Grid]] = {
    "evolution": Evolution,
    "random": RandomDraws,
    "grid": Grid,
}


def _join(living: dict[Hashable, Scored], one: Scored | None) -> None:
    """Of several candidates with one allocation, the first stays: a population of copies would not evolve."""
    if one is not None:
        living.setdefault(one.key, one)


def _ranked(living: dict[Hashable, Scored]) -> list[Scored]:
    """Best first; equal ones in the order in which they were found."""
    return sorted(living.values(), key=_value)


def _value(one: Scored) -> float:
    return one.value
