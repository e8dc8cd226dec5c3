"""The jobs of a plan whose results are on disk and valid, so that they need not run again."""

from __future__ import annotations

from collections.abc import Iterable

from prunebench.assets.manifest import load_manifest
from prunebench.errors import PrunebenchError
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.results.current import SEARCHES, Results, headlines, remembered
from prunebench.storage.sealed import read_record

RESULTS = ("prune", "evaluate", *SEARCHES)
"""The rules whose results say from what they were made."""
ENDS = ("collect", "tables", "figures", "report")
"""The rules that run again as soon as a cell has a new result."""


def done_jobs(plan: Plan, jobs: Iterable[Job]) -> frozenset[Job]:
    """Return the jobs that are done, as far as their own results and specs tell. A failed cell is done, too.

    Each of `jobs` writes a file.
    """
    results = Results(plan, remembered(headlines))
    jobs = list(jobs)
    made = [job for job in jobs if job.done]
    done = {job for job in made if job.rule not in ENDS and _is_valid(job, results)}
    if all(job in done for job in jobs if job.rule == "evaluate"):
        done |= {job for job in made if job.rule in ENDS}
    return frozenset(done)


def _is_valid(job: Job, results: Results) -> bool:
    """Whether the first output of `job` was made with the spec of today. A file that tells no spec counts as valid."""
    if job.rule in RESULTS:
        return bool(results.valid(job)["status"] != "missing")
    if job.outputs[0].suffix != ".json":
        return True
    try:
        if job.asset:
            return bool(load_manifest(job.outputs[0]).spec_hash == job.spec_hash)
        return bool(read_record(job.outputs[0]).get("spec_hash") == job.spec_hash)
    except PrunebenchError:
        return False
