"""Prepares another run of cells that failed or were stopped."""

from collections.abc import Sequence
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.plan import graph
from prunebench.plan.jobs import named
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.results.current import Results
from prunebench.upkeep import locks
from prunebench.view.recorded import records
from prunebench.view.states import State, running_jobs, states


def retryable(plan: Plan, studies: Sequence[str]) -> list[State]:
    """The states of the evaluations of `studies` that failed or stopped."""
    return [state for state in states(plan, Results(plan), studies) if state.status in ("failed", "stopped")]


def missing(plan: Plan, studies: Sequence[str]) -> int:
    """The number of evaluations of `studies` for which nothing has run yet."""
    return sum(state.status == "missing" for state in states(plan, Results(plan), studies))


def leftovers(plan: Plan, chosen: Sequence[State]) -> list[Path]:
    """The files that failures have left in place of results: those of the failed job and of the jobs after it."""
    paths = [
        path
        for state in chosen
        if state.status == "failed"
        for job in _from_culprit(state, graph.chain(plan, state.cell, [state.suite]))
        for path in job.outputs
        if path.exists()
    ]
    return list(dict.fromkeys(paths))


def targets(chosen: Sequence[State]) -> list[Path]:
    """The results that snakemake has to make."""
    evaluations = (named("evaluate", **state.cell.wildcards, suite=state.suite) for state in chosen)
    return list(dict.fromkeys(evaluation.outputs[0] for evaluation in evaluations))


def refuse_while_running() -> None:
    """Raise PrunebenchError if snakemake runs here or may run, because then nothing may be deleted."""
    if busy := [*map(str, running_jobs()), *(f"snakemake, process {pid}" for pid in locks.snakemakes())]:
        raise PrunebenchError(f"still running: {', '.join(busy)}. Wait for them, or stop them")
    if locks.stale() and not records().all_dead:
        raise PrunebenchError(
            f"{locks.LOCKS} is locked, but no snakemake runs here: it was killed, or runs on another machine. "
            "If it was killed, run prunebench unlock first"
        )


def _from_culprit(state: State, jobs: list[Job]) -> list[Job]:
    """The failed job of `state` and all of `jobs` after it, without downloads."""
    return [job for job in jobs[jobs.index(state.job) :] if not job.rule.startswith("fetch")] if state.job else []
