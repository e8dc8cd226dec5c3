"""What the results were made from and on."""

from collections import Counter
from pathlib import Path
from typing import Any

from prunebench.assets.manifest import load_manifest
from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records

LIBRARIES = ("python", "torch", "transformers", "numpy", "lm_eval")


def conditions(plan: Plan, records: Records) -> list[dict[str, Any]]:
    """How many jobs (and seconds of them) ran on each kind of machine with the same libraries and code."""
    jobs: Counter[tuple[tuple[str, str], ...]] = Counter()
    seconds: Counter[tuple[tuple[str, str], ...]] = Counter()
    suites = {(cell, suite) for study in plan.studies.values() for cell in study.cells for suite in study.suites[cell]}
    for cell, suite in [*((cell, None) for cell in plan.cells), *suites]:
        if measured := records.measured(cell, suite):
            condition = _condition(measured)
            jobs[condition] += 1
            seconds[condition] += measured["seconds"]
    return [{"jobs": count, "minutes": seconds[of] / 60, **dict(of)} for of, count in jobs.most_common()]


def _condition(measured: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return (
        ("device", measured["device"]),
        ("machine", f"{measured['machine']}, {measured['cpus']} CPUs, {measured['memory_mb'] / 1024:.0f} GiB"),
        ("os", measured["os"]),
        ("libraries", ", ".join(f"{name} {found}" for name in LIBRARIES if (found := measured["versions"].get(name)))),
        ("code", measured["code"] or "not in a git repository"),
    )


def assets(plan: Plan) -> list[dict[str, str]]:
    """What the studies read: each model, corpus and bundle of tasks, where it comes from and its digest."""
    names = {f"models/{cell.model}" for cell in plan.cells}
    names |= {f"corpora/{plan.calibration_corpus(cell.calibration)}" for cell in plan.cells if cell.calibrated}
    names |= {asset for cell in plan.cells for asset in plan.method_assets(cell.method)}
    names |= {asset for of in plan.studies.values() for suite in of.all_suites for asset in plan.suite_assets(suite)}
    found = []
    for name in sorted(names):
        kind, catalog_name = name.split("/")
        entry = getattr(plan.config, kind)[catalog_name]
        path = Path(paths.ASSET.format(asset=name))
        found.append({"name": name, "title": entry.title, "source": entry.source.origin, "digest": _digest(path)})
    return found


def _digest(asset: Path) -> str:
    """The digest of an asset, or why there is none."""
    if not asset.exists():
        return "not fetched yet"
    try:
        return load_manifest(asset).digest
    except PrunebenchError:
        return "its files have changed"
