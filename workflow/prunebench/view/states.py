"""Finds the state of each evaluation of each cell, from files on disk and from logs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.cell import Cell
from prunebench.plan import graph
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.results.current import Results
from prunebench.storage.sealed import read_status
from prunebench.suites.metrics import headlines
from prunebench.view import logs
from prunebench.view.recorded import is_starting

STATUSES = ("ok", "running", "failed", "stopped", "skipped", "missing")
"""ok: there is a number. running: a job runs or is being started. failed: the number cannot be computed. stopped: a job
crashed or was killed. skipped: a plug-in cannot do the cell. missing: nothing has run for it with the present config
and code."""


@dataclass(frozen=True)
class State:
    """The state of the evaluation of `suite` on `cell`."""

    study: str
    cell: Cell
    suite: str
    status: str
    reason: str = ""
    score: dict[str, Any] | None = None
    """The headline score of the evaluation, if the status is ok."""
    job: Job | None = None
    """The job that runs, has failed, or was stopped."""


def states(plan: Plan, results: Results, studies: Iterable[str]) -> list[State]:
    """One state for each cell and suite of `studies`, in the order of their grids."""
    evaluations = []
    for name in studies:
        study = plan.studies[name]
        skipped = dict(study.skipped)
        for cell, suites in study.suites.items():
            for suite in suites:
                if cell in skipped:
                    evaluations.append(State(name, cell, suite, "skipped", skipped[cell]))
                else:
                    evaluations.append(_state(plan, results, name, cell, suite))
    return evaluations


def _state(plan: Plan, results: Results, study: str, cell: Cell, suite: str) -> State:
    evaluated = results.evaluation(cell, suite)
    if evaluated["status"] == "ok":
        return State(study, cell, suite, "ok", score=headline(evaluated["scores"]))
    jobs = graph.chain(plan, cell, [suite])
    pruning, evaluation = next(job for job in jobs if job.rule == "prune"), jobs[-1]
    for job in (pruning, evaluation):
        if runs(job.log) and logs.is_of(job.log, job.spec):
            return State(study, cell, suite, "running", logs.progress(job.log), job=job)
    pruned = results.prune(cell)
    if pruned["status"] == "failed":
        culprit = next(filter(_failed, jobs), pruning)
        return State(study, cell, suite, "failed", f"prune: {pruned['reason']}", job=culprit)
    if evaluated["status"] == "failed":
        return State(study, cell, suite, "failed", evaluated["reason"], job=evaluation)
    for job in jobs:
        if stopped(job):
            return State(study, cell, suite, "stopped", f"{job}: {logs.last_words(job.log)}", job=job)
    pairs = ((pruned, pruning), (evaluated, evaluation))
    reasons = [result["reason"] for result, job in pairs if job.done and "reason" in result]
    return State(study, cell, suite, "missing", *reasons[:1])


def _failed(job: Job) -> bool:
    """Whether `job` is done and its result is a failure."""
    result = job.outputs[0]
    return result.suffix == ".json" and read_status(result) == "failed"


def runs(log: Path) -> bool:
    """Whether the job that writes `log` runs or is being started."""
    # A job that starts between the two looks has its lock by the second.
    return is_starting(log) or logs.running(log)


def stopped(job: Job) -> bool:
    """Whether `job` crashed or was killed: it was started, has not finished, and does not run."""
    # Its end is looked for last: it may have ended since it was seen running.
    if not job.log.exists() or runs(job.log) or job.done or not logs.is_of(job.log, job.spec):
        return False
    # Snakemake writes the benchmark after the job. So if it is newer than the log, the result was deleted later.
    return not (job.benchmark.exists() and job.benchmark.stat().st_mtime >= job.log.stat().st_mtime)


def headline(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """The headline score of an evaluation: the mean over tasks, or else the first score."""
    (task, *_) = headlines(score["task"] for score in scores)
    return next(score for score in scores if score["task"] == task)


def split_by_plan(plan: Plan, running: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Split `running` into jobs of `plan` and jobs of other configs, or of this config before an edit."""
    specs = {job: job.spec for job in graph.jobs(plan)} if running else {}
    ours = [job for job in running if job in specs and logs.is_of(job.log, specs[job])]
    return ours, [job for job in running if job not in ours]


def running_jobs(root: Path = Path("logs")) -> list[Job]:
    """All jobs that run or are being started now, of any config."""
    alive = (graph.maker(log) for log in sorted(root.rglob("*.log")) if runs(log))
    return [job for job in alive if job]
