"""The interface of a space of candidates for a search; each space is a file beside this one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

from prunebench.allocators.base import Allocation
from prunebench.engine.anatomy import Anatomy

Candidate = Any
"""An element of a space; `str` gives the text that the allocator takes."""


class Space(Protocol):
    """A set of candidates for one model and sparsity. All randomness comes from the generator `rng`."""

    name: ClassVar[str]
    """The name that configs use, which is also the name of the file."""

    def __init__(self, model: Anatomy, sparsity: float) -> None: ...

    def draw(self, rng: random.Random) -> Candidate:
        """A random candidate."""

    def mutate(self, candidate: Candidate, rng: random.Random) -> Candidate:
        """A neighbour of `candidate`."""

    def cross(self, first: Candidate, second: Candidate, rng: random.Random) -> Candidate:
        """A candidate between two others."""

    def every(self) -> Iterable[Candidate]:
        """All candidates, in order. Raises TypeError if there are too many."""

    def reject(self, candidate: Candidate) -> str | None:
        """Why `candidate` is invalid for every model, or None."""

    def allocate(self, candidate: Candidate) -> Allocation:
        """The allocation of `candidate`. Raises Invalid, with the reason, if it has none on this model."""
