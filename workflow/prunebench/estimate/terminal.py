"""The terminal of a run: one line says what is done, what is running, and how long the rest takes."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from prunebench.errors import PrunebenchError
from prunebench.estimate.devices import DEVICES
from prunebench.estimate.estimate import Estimate
from prunebench.names import few
from prunebench.plan.graph import jobs_of_all
from prunebench.plan.jobs import rules
from prunebench.runtime.script import ERASE

if TYPE_CHECKING:
    from prunebench.plan.jobs.base import Job
    from prunebench.plan.plan import Plan

EVERY = 30.0
"""The least number of seconds between two of these lines where each stays, as in a file."""
START = 4.0
"""The seconds that a job takes to start Python and import libraries."""
SHOWN = ("model", "method", "allocator", "point", "suite", "search", "corpus", "study", "table", "figure")
"""The wildcards that name a job in a line, as far as they tell jobs of a config apart."""
NOISE = (
    "Assuming unrestricted shared filesystem usage",
    "Using shell:",
    "Rules claiming more threads will be scaled down",
    "Provided resources:",
    "Conda environments: ignored",
    "Select jobs to execute...",
)
"""The beginnings of lines of Snakemake that no user of this workflow can do anything with."""
NOTHING = "Nothing to be done"
"""The beginning of Snakemake's line where no job has to run. It calls none of our handlers then."""
COMMAND_FAILED = "RuleException:\nCalledProcessError in file "
"""The beginning of Snakemake's line with the whole command of a job, which comes before its line on the failed job."""


@dataclass
class Progress:
    """The jobs of a run, and the work that they are expected to be."""

    left: dict[Any, float]
    """The estimated seconds of each job (by its id) that is not done."""
    total: int
    constant: frozenset[str] = frozenset()
    """The wildcards that have one value in the whole config."""
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    running: dict[Any, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._all = sum(self.left.values())

    def start(self, job: Any, rule: str, wildcards: Mapping[str, Any]) -> None:
        """Note that a job of `rule` runs now."""
        self.running[job] = name(rule, {key: value for key, value in wildcards.items() if key not in self.constant})

    def finish(self, job: Any) -> None:
        """Note that a job is done."""
        self.done += 1
        self.running.pop(job, None)
        self.left.pop(job, None)

    def fail(self, job: Any) -> None:
        """Note that a job has failed: it runs no more, and the time left counts it no more."""
        self.running.pop(job, None)
        self.left.pop(job, None)

    def line(self, now: float) -> str:
        """Say how far the run is at the time `now`.

        The rest takes as long as its share of the estimated work takes at the speed so far. Before a twentieth of the
        work is done, nothing is said of it.
        """
        parts = [f"{self.done} of {self.total} jobs done"]
        rest = sum(self.left.values())
        worked = self._all - rest
        if worked > 0.05 * self._all:
            parts.append(f"{_time((now - self.started) * rest / worked)} left")
        if self.running:
            parts.append(f"now: {few(list(self.running.values()), 3)}")
        return f"[{', '.join(parts)}]"


def expected(plan: Plan, pending: Mapping[Any, tuple[str, Mapping[str, Any]]]) -> Progress:
    """Estimate the work of the jobs `pending`, which are (rule, wildcards) by their ids in Snakemake."""
    estimate = Estimate(plan, DEVICES["cpu"])
    jobs = {job_id: plan.job(rule, **wildcards) for job_id, (rule, wildcards) in pending.items() if rule in rules()}
    left = {job_id: START + _seconds(estimate, job) for job_id, job in jobs.items()}
    return Progress(left, len(pending), constant(jobs_of_all(plan)))


def constant(jobs: Iterable[Job]) -> frozenset[str]:
    """Find the wildcards that have one value in all of `jobs`."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        for key, value in job.wildcards.items():
            values.setdefault(key, set()).add(value)
    return frozenset(key for key, of_key in values.items() if len(of_key) == 1)


class Bottom:
    """The last line of a terminal. Each line that is shown there replaces the one before."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, line: str) -> None:
        """Show as much of `line` as fits. The cursor stays at its beginning, for what is written next."""
        width = shutil.get_terminal_size().columns - 1
        self._write(f"{ERASE}{line if len(line) <= width else line[: width - 3] + '...'}\r")

    def clear(self) -> None:
        """Erase the line."""
        self._write(ERASE)

    def _write(self, text: str) -> None:
        # The terminal may have gone, which is no reason to end a long run.
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


class Brief(logging.Filter):
    """Leaves the details of jobs out of Snakemake's terminal; its log file has them.

    In their place it writes a line of `Progress`: at the bottom of a terminal whenever a job starts or ends, elsewhere
    from time to time. Of a job that fails, Snakemake shows the command (twice) and the log, which have the spec of many
    kilobytes: a few lines stand in their place. Other errors and warnings stay as they are. All this begins with
    `begin`, which a dry run never comes to; before it, only NOISE is left out.
    """

    def __init__(
        self,
        progress: Callable[[], Progress],
        say: Callable[[str], None],
        bottom: Bottom | None = None,
        *,
        complain: Callable[[str], None],
        failure: Callable[[Mapping[str, Any]], str | None],
        made: Callable[[], str],
    ) -> None:
        """`progress` is called once, when the first job is done or starts. `say` writes a line that stays.

        `failure` tells of a job that failed, from the details of Snakemake; `complain` writes such a text. `made` says
        where the results are if nothing is left to do; "" if there are none.
        """
        super().__init__()
        self._make, self._say, self._bottom = progress, say, bottom
        self._complain, self._failure, self._made = complain, failure, made
        self._progress: Progress | None = None
        self._begun = False
        self._last = 0.0

    def begin(self) -> None:
        """Leave out details of jobs from now on."""
        self._begun = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the terminal shows `record`."""
        shown = self._notes(record)
        if self._bottom and shown:
            self._bottom.clear()
        return shown

    def _notes(self, record: logging.LogRecord) -> bool:
        """Note what `record` says of a job, and say whether the terminal shows it."""
        if str(record.msg).startswith(NOTHING) and (made := self._made()):
            record.msg = f"{record.msg}\n{made}"
        event = str(getattr(record, "event", None) or "") if self._begun else ""
        if event == "job_started" or (event == "error" and str(record.msg).startswith(COMMAND_FAILED)):
            return False
        if event in ("job_error", "group_error"):
            details = vars(record)
            if self._progress and "jobid" in details:
                self._progress.fail(details["jobid"])
            if text := self._failure(details):
                self._complain(text)
            return False
        if event not in ("job_info", "job_finished", "progress"):
            return not str(record.msg).startswith(NOISE)
        progress = self._progress = self._progress or self._make()
        if event == "job_info":
            details = vars(record)
            progress.start(details["jobid"], details["rule_name"], details["wildcards"] or {})
        elif event == "job_finished":
            progress.finish(vars(record)["job_id"])
        now = time.monotonic()
        if self._bottom and progress.left:
            self._bottom.show(progress.line(now))
        elif self._bottom:
            self._bottom.clear()
        elif event == "progress" and now - self._last >= EVERY and progress.left:
            self._last = now
            self._say(progress.line(now))
        return False


def name(rule: str, wildcards: Mapping[str, Any]) -> str:
    """Name a job in a few words, a sparsity without its usual pattern."""
    words = [str(wildcards[key]).removeprefix("unstructured-s") for key in SHOWN if key in wildcards]
    return " ".join([rule, *words])


def _seconds(estimate: Estimate, job: Job) -> float:
    """Estimate the time of `job`; 0 for a model of which nothing is known, because its own job says what is wrong."""
    try:
        return estimate.seconds(estimate.cost(job))
    except PrunebenchError:
        return 0.0


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds)):d} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
