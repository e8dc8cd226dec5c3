"""The contract of an evaluation suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.plugin import Plugin
from prunebench.suites import workloads
from prunebench.suites.metrics import Metric, headlines
from prunebench.suites.workloads import Workload

if TYPE_CHECKING:
    from prunebench.config.schema import Config
    from prunebench.engine.subject import Subject
    from prunebench.published.values import Published
    from prunebench.storage.resume import Parts


@dataclass(frozen=True)
class Score:
    """One number of one task. `details` (per-window losses, say) are written to the suite's JSON only."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    details: dict[str, Any] = field(default_factory=dict)


class Suite(Plugin):
    """The base class of all suites.

    The whole protocol is in `params`, so that two numbers compare if and only if their specs agree.
    """

    metrics: ClassVar[tuple[Metric, ...]] = ()
    """The metrics of the scores that tables and figures show."""
    table: ClassVar[str] = "scores"
    """The module in tables/ that lays out the scores; the default shows any metric."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """The packages whose release decides the numbers, besides those that compute the model; versions are in specs."""

    alone: ClassVar[bool] = False
    """Whether no other job may run on the machine meanwhile, because time is measured."""

    sees: ClassVar[bool] = False
    """Whether the suite asks about images, which only vision-language models see."""

    @property
    def longest(self) -> int:
        """The number of tokens that the model has to be able to read at once; 0 if the suite does not know it."""
        return int(getattr(self.params, "seqlen", 0))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks or corpora that the scores have."""
        return ()

    def mistakes(self, config: Config) -> Iterator[str]:
        """Yield what is wrong with the parameters in view of the catalogs, as 'PARAMETER: ...'.

        All `assets` are known to be in the catalogs.
        """
        yield from ()

    def differences(self, value: Published) -> Iterator[str]:
        """Yield in words how the measurement of the published `value` differs from this suite's.

        `value` is of one of `tasks`, in a metric that `metrics` names as published. Without differences it compares.
        """
        yield from ()

    def workload(self, config: Config) -> Workload:
        """Estimate the text that goes through the model, for `prunebench plan`; by default tasks of unknown size."""
        return workloads.of_tasks(self.tasks or (self.name,))

    def run(self, subject: Subject, assets: Mapping[str, Path], parts: Parts) -> list[Score]:
        """Evaluate the model `subject`; `assets` maps the names in `self.assets` to directories.

        Long work is done in pieces that are kept in `parts`: a killed job resumes with the next piece. Raises
        CellFailure if the model does not work; the job then has that failure as its result.
        """
        raise TypeError(f"suite {self.name!r} does not define run")

    def headline(self, scores: list[Score]) -> str:
        """Write one short line for the terminal when the job is done."""
        parts = []
        for metric in self.metrics:
            values = {score.task: score.value for score in scores if score.metric == metric.name}
            shown = (f"{task} {metric.text(values[task])}" for task in headlines(values))
            parts.append(f"{metric.title.lower()} {', '.join(shown)}")
        return "; ".join(parts)
