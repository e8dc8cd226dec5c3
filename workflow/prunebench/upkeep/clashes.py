"""Results that a run would replace, although another config that was run here still needs them.

Results lie under names: of a model, a method, a suite. Two configs can give one name to different things.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.graph import jobs
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.storage.sealed import read_if_whole

RULES = ("search_allocation", "allocate", "prune", "evaluate")
"""The rules whose first output is a record with the hash of its spec, and takes long to make."""


def refuse_to_replace(plan: Plan, pending: Iterable[Job], others: Callable[[], Iterable[Plan]]) -> None:
    """Raise PrunebenchError if the jobs `pending` of `plan` would replace valid results of a plan in `others`."""
    ready = [job for job in pending if job.rule in RULES and job.done]
    for other in others() if ready else ():
        if other.home == plan.home:
            continue
        theirs = {job.key: job for job in jobs(other)}
        pairs = [(job, theirs[job.key]) for job in ready if job.key in theirs]
        clashes = [(job, before) for job, before in pairs if _is_result(before) and before.spec_hash != job.spec_hash]
        if clashes:
            raise PrunebenchError(_message(plan, other, clashes))


def _is_result(job: Job) -> bool:
    """Whether the first output of `job` was made from its spec of today."""
    record = read_if_whole(job.outputs[0]) or {}
    return bool(record.get("spec_hash") == job.spec_hash)


def _message(plan: Plan, other: Plan, clashes: list[tuple[Job, Job]]) -> str:
    # A job that rests on another one that differs shows no more than that.
    keys = {job.key for job, _ in clashes}
    job, before = next((pair for pair in clashes if not any(up.key in keys for up in pair[0].upstream)), clashes[0])
    differing = _differences(job.spec, before.spec)
    count = f"{len(clashes)} result{'s' * (len(clashes) > 1)} of {other.file}"
    record = Path(paths.CONFIG_RECORD.format(home=other.home))
    if differing == ["compute"]:
        why, how = "they ask for different 'compute' settings", "make these equal"
    else:
        why = f"both give its names to different settings ({', '.join(differing)})"
        how = "choose other names in one of them"
    return (
        f"{plan.file} would replace {count}, such as {job.outputs[0]}, because {why}: {how}, or run one in a directory "
        f"of its own (prunebench init). To let the others go, delete {record}"
    )


def _differences(spec: str, other: str) -> list[str]:
    """Name the fields in which two specs differ."""
    one, two = json.loads(spec), json.loads(other)
    return sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))
