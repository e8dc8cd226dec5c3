"""The origin of results: the machines and libraries that they were made on, and the assets that they were made from."""

from collections import Counter
from pathlib import Path
from typing import Any

from prunebench.assets.manifest import load_manifest
from prunebench.errors import PrunebenchError
from prunebench.plan import graph
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records

LIBRARIES = ("python", "torch", "transformers", "numpy", "lm_eval")


def machines(plan: Plan, records: Records) -> list[dict[str, Any]]:
    """Count the jobs, and their minutes, on each kind of machine with the same libraries and code."""
    jobs: Counter[tuple[tuple[str, str], ...]] = Counter()
    seconds: Counter[tuple[tuple[str, str], ...]] = Counter()
    suites = {(cell, suite) for study in plan.studies.values() for cell in study.cells for suite in study.suites[cell]}
    for cell, suite in [*((cell, None) for cell in plan.cells), *suites]:
        if measured := records.measured(cell, suite):
            condition = _condition(measured)
            jobs[condition] += 1
            seconds[condition] += measured["seconds"]
    return [{"jobs": count, "minutes": seconds[kind] / 60, **dict(kind)} for kind, count in jobs.most_common()]


def _condition(measured: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    numbers = {name: measured["versions"].get(name) for name in LIBRARIES}
    return (
        ("device", measured["device"]),
        ("machine", f"{measured['machine']}, {measured['cpus']} CPUs, {measured['memory_mb'] / 1024:.0f} GiB"),
        ("os", measured["os"]),
        (
            "libraries",
            ", ".join(f"{name} {number}" for name, number in numbers.items() if number),
        ),
        ("prunebench", measured["versions"]["prunebench"]),
        ("code", measured["code"] or "not in a git repository"),
    )


def assets(plan: Plan) -> list[dict[str, str]]:
    """List each model, corpus and bundle of tasks that the studies read, with its source and its digest."""
    rows = []
    for job in sorted((job for job in graph.jobs(plan) if job.asset), key=lambda job: job.asset):
        kind, name = job.asset.split("/")
        entry = getattr(plan.config, kind)[name]
        digest = _digest(job.outputs[0])
        rows.append({"name": job.asset, "title": entry.title, "source": entry.source.origin, "digest": digest})
    return rows


def _digest(asset: Path) -> str:
    """Find the digest of an asset, or say why there is none."""
    if not asset.exists():
        return "not fetched yet"
    try:
        return load_manifest(asset).digest
    except PrunebenchError:
        return "its files have changed"
