"""What a search can find: candidates, how they vary, and the allocation that each stands for."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterable
from typing import Any, Protocol

from prunebench.allocators.base import Allocation
from prunebench.engine.anatomy import Anatomy

Candidate = Any
"""What a space consists of; `str` gives the text that the allocator takes."""


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


def load(name: str) -> type[Space]:
    """The space called `name`, one module each: like a plug-in it has a fingerprint of its own."""
    space: type[Space] = importlib.import_module(f"prunebench.search.{name}").Space
    return space
