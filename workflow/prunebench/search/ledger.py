"""The records of a search: the candidates, their values, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from prunebench.dsa.operations import Invalid
from prunebench.errors import CellFailure
from prunebench.search.strategies import Scored, Spent

if TYPE_CHECKING:
    from prunebench.search.fitness import Counts, Fitness
    from prunebench.search.spaces import Candidate, Space
    from prunebench.storage.resume import Parts

PATIENCE = 1000
"""The number of proposals without a new allocation after which a space counts as exhausted."""


class Ledger:
    """A `Judge` that evaluates each allocation once, within a budget of evaluations, and writes a history.

    Results that cost time are kept in `parts` by number: a strategy that is run again from the same seed proposes the
    same candidates and finds their results.
    """

    def __init__(
        self,
        space: Space,
        fitness: Fitness,
        parts: Parts,
        *,
        evaluations: int,
        report: Callable[[str], None],
        known: Mapping[Counts, float] | None = None,
    ) -> None:
        """`report` is called after every evaluation, with the best so far; `known` values need no evaluation."""
        self._space, self._fitness, self._parts, self._report = space, fitness, parts, report
        self._budget = evaluations
        self._values: dict[Counts, float] = dict(known or {})
        self._given = len(self._values)
        self._judged: dict[str, Scored | None] = {}
        self._fruitless = 0
        self.history: list[dict[str, Any]] = []
        """Every distinct candidate that was not rejected, in the order of proposals."""
        self.rejected = 0
        """The number of proposals that were rejected without any data."""
        self.best: Scored | None = None

    @property
    def evaluations(self) -> int:
        """The number of evaluations of the model."""
        return len(self._values) - self._given

    def __call__(self, candidate: Candidate) -> Scored | None:
        """The value of `candidate`; None if it is invalid. Raises Spent if the search is over."""
        self._fruitless += 1
        if self.evaluations >= self._budget:
            raise Spent(f"{self._budget} evaluations")
        if self._fruitless > PATIENCE:
            raise Spent(f"nothing new in {PATIENCE} proposals")
        if self._space.reject(candidate):
            self.rejected += 1
            return None
        text = str(candidate)
        if text not in self._judged:
            self._judged[text] = self._judge(candidate)
        return self._judged[text]

    def _judge(self, candidate: Candidate) -> Scored | None:
        part = self._parts.get_or(f"candidate_{len(self.history):05d}", lambda: self._counts(candidate))
        if "invalid" in part:
            self._write(candidate, "invalid", None, part["invalid"])
            return None
        counts = tuple(part["counts"])
        if counts in self._values:
            scored = Scored(self._values[counts], candidate, counts)
            self._keep(scored)
            self._write(candidate, "known", scored.value, None)
            return scored
        self._fruitless = 0
        outcome = self._parts.get_or(f"evaluation_{self.evaluations:05d}", lambda: self._evaluate(counts))
        scored = Scored(outcome.get("value", math.inf), candidate, counts)
        self._values[counts] = scored.value
        self._keep(scored)
        self._write(candidate, "ok" if "value" in outcome else "failed", outcome.get("value"), outcome.get("failed"))
        best = f"best {self.best.value:.2f} {self.best.candidate}" if self.best else "none yet"
        self._report(f"{scored.value:.2f} {candidate}, {best}")
        return scored

    def _keep(self, scored: Scored) -> None:
        if math.isfinite(scored.value) and (self.best is None or scored.value < self.best.value):
            self.best = scored

    def _counts(self, candidate: Candidate) -> dict[str, Any]:
        try:
            return {"counts": self._fitness.counts(self._space.allocate(candidate))}
        except (Invalid, CellFailure) as reason:
            return {"invalid": str(reason)}

    def _evaluate(self, counts: Counts) -> dict[str, Any]:
        try:
            return {"value": self._fitness.perplexity(counts)}
        except CellFailure as failure:
            return {"failed": str(failure)}

    def _write(self, candidate: Candidate, status: str, value: float | None, reason: str | None) -> None:
        self.history.append(
            {
                "evaluation": self.evaluations,
                "candidate": str(candidate),
                "status": status,
                "value": value,
                "reason": reason,
            }
        )
