"""The strategies of a search: evolution as in DSA's Algorithm 1, random draws, or every point of a grid.

A `Space` makes candidates and a `Judge` gives their values. A strategy depends on nothing else but its random
generator, so that a run with the same seed proposes the same candidates.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from prunebench.search.spaces import Candidate, Space


class Spent(Exception):
    """The search is over: its budget is used up, or it finds no new allocations."""


class Scored(NamedTuple):
    """A candidate and its value."""

    value: float
    """Lower is better; infinite if the model failed."""
    candidate: Candidate
    key: Hashable
    """A key that is equal for candidates with the same allocation."""


class Judge(Protocol):
    """A function from a candidate to its value."""

    def __call__(self, candidate: Candidate) -> Scored | None:
        """The candidate with its value, or None if it is invalid. Raises Spent if the search is over."""


@dataclass(frozen=True)
class Evolution:
    """DSA's Algorithm 1 (Li et al. 2024, App. C.1).

    In every round a part of the population is sampled and a parent is drawn from the best of the sample. A mutant of
    the parent, and a crossover with another of these best, join the population, of which the best are kept.
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
            partner = rng.choice([scored for scored in best if scored is not parent] or best)
            for child in (
                space.mutate(parent.candidate, rng),
                space.cross(parent.candidate, partner.candidate, rng),
            ):
                _join(living, judge(child))
            living = {scored.key: scored for scored in _ranked(living)[: self.population]}


@dataclass(frozen=True)
class RandomDraws:
    """Independent draws, the control: an evolution that does not beat them has learnt nothing."""

    def run(self, space: Space, judge: Judge, rng: random.Random) -> None:
        """Propose until `judge` raises Spent."""
        while True:
            judge(space.draw(rng))


@dataclass(frozen=True)
class Grid:
    """All candidates of the space, once each."""

    def run(self, space: Space, judge: Judge, rng: random.Random) -> None:
        """Propose all candidates, until there are no more or `judge` raises Spent."""
        for candidate in space.every():
            judge(candidate)


STRATEGIES: dict[str, type[Evolution | RandomDraws | Grid]] = {
    "evolution": Evolution,
    "random": RandomDraws,
    "grid": Grid,
}


def _join(living: dict[Hashable, Scored], scored: Scored | None) -> None:
    """Add a valid candidate unless its allocation is there already: a population of copies would not evolve."""
    if scored is not None:
        living.setdefault(scored.key, scored)


def _ranked(living: dict[Hashable, Scored]) -> list[Scored]:
    """The candidates from best to worst; equal ones in the order in which they joined."""
    return sorted(living.values(), key=_value)


def _value(scored: Scored) -> float:
    return scored.value
