"""Puts the jobs of a plan into an order in which they can run, and finds the job that writes a file."""

from collections.abc import Iterable
from pathlib import Path

from prunebench.cell import Cell
from prunebench.plan import paths
from prunebench.plan.jobs import benchmark_of, log_of, rules
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan


def chain(plan: Plan, cell: Cell, suites: Iterable[str]) -> list[Job]:
    """All jobs that the evaluation of `suites` on `cell` needs, each after the jobs whose files it reads.

    The evaluations come last.
    """
    evaluations = [plan.job("evaluate", **cell.wildcards, suite=suite) for suite in suites]
    return ordered([plan.job("prune", **cell.wildcards), *evaluations])


def ordered(targets: Iterable[Job]) -> list[Job]:
    """`targets` and all jobs that they need, each once and after the jobs whose files it reads."""
    done: dict[Job, None] = {}

    def visit(job: Job) -> None:
        if job not in done:
            for earlier in job.upstream:
                visit(earlier)
            done[job] = None

    for target in targets:
        visit(target)
    return list(done)


def jobs(plan: Plan) -> list[Job]:
    """Every job of the targets `all` and `strict`."""
    return ordered(plan.wanted)


def jobs_of_all(plan: Plan) -> list[Job]:
    """Every job of the target `all`, which snakemake runs if no target is named."""
    return [job for job in jobs(plan) if job.outputs]


def maker(path: Path) -> Job | None:
    """The job that writes `path`, which belongs to no plan; None if no rule writes a file of that name."""
    for name, rule in rules().items():
        # The longest pattern comes first, because {suite}.json fits ppl.measured.json as well.
        for pattern in sorted((*rule.writes.values(), log_of(name), benchmark_of(name)), key=len, reverse=True):
            if match := paths.expression(pattern).fullmatch(path.as_posix()):
                return rule(None, match.groupdict())
    return None
