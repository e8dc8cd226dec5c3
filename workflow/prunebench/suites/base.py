"""The contract of an evaluation suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.plugin import Plugin

if TYPE_CHECKING:
    from prunebench.config.schema import Config
    from prunebench.engine.subject import Subject
    from prunebench.storage.resume import Parts


MEAN = "mean"
"""The task name of a mean over tasks."""


@dataclass(frozen=True)
class Score:
    """One number of one task. `details` go to the suite's JSON only (per-window losses, say)."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    details: dict[str, Any] = field(default_factory=dict)


class Suite(Plugin):
    """Base of all suites. The whole protocol is in `params`, so that two numbers compare iff their specs do."""

    table: ClassVar[str]
    """The module in tables/ that lays out its scores."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose release decides its numbers, beside those that compute the model: their versions are in specs."""

    def mistakes(self, config: Config) -> Iterator[str]:
        """What is wrong with the parameters in view of the catalogs, as 'PARAMETER: ...'; the assets are there."""
        yield from ()

    def run(self, subject: Subject, assets: Mapping[str, Path], parts: Parts) -> list[Score]:
        """Evaluate the model `subject`; `assets` maps the names in `self.assets` to directories.

        What takes long is done in pieces that are kept in `parts`: a killed job resumes with the next piece.
        """
        raise TypeError(f"suite {self.name!r} does not define run")

    def headline(self, scores: list[Score]) -> str:
        """One short line for the terminal when the job is done."""
        return ", ".join(f"{score.task} {score.metric} {score.value:.4g}" for score in scores)
