"""The summary of a report: what was pruned, what came out, when and with what, and what the numbers cannot say."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench.cell import NO_CALIBRATION
from prunebench.plan.plan import Plan
from prunebench.report.about import cautions
from prunebench.report.findings import findings
from prunebench.results.detail import Records
from prunebench.tables import layout
from prunebench.tables.base import Evidence

NAMED = 8
"""The most methods, models or sparsities that a sentence names. More are counted."""


def summary(plan: Plan, cells: pd.DataFrame, records: Records, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the summary of the studies of `plan`: sentences about each, and about all of them.

    `conditions` are the kinds of machine that jobs ran on (see `machines`), the most common first.
    """
    studies = [
        {
            "title": plan.config.studies[name].title or name,
            "pruned": " ".join(_pruned(plan, name)),
            "findings": [*_unfinished(cells[cells["study"] == name]), *findings(Evidence(plan, name, cells, records))],
        }
        for name in plan.studies
    ]
    limits = dict.fromkeys(sentence for name in plan.studies for sentence in cautions(plan, name))
    return {"studies": studies, "made": list(_made(plan, conditions)), "limits": list(limits)}


def _pruned(plan: Plan, study: str) -> Iterator[str]:
    config, expansion, labels = plan.config, plan.studies[study], plan.shown.labels()
    pruned = [cell for cell in expansion.cells if cell.method not in plan.shown.baselines]
    models = [config.models[name].title for name in dict.fromkeys(cell.model for cell in expansion.cells)]
    if not pruned:
        yield f"{_named(models, 'models')}. No cell of this study prunes."
        return
    methods = [labels[f"methods/{name}"] for name in dict.fromkeys(cell.method for cell in pruned)]
    rows = pd.DataFrame([{"pattern": cell.pattern, "sparsity": cell.sparsity} for cell in pruned])
    # A method that takes no orders has the sparsity of its checkpoint.
    points = [layout.point(point) for _, point in layout.points(rows[rows["sparsity"] != "0.00"]).iterrows()]
    shares = f" to {_named(points, 'sparsities')} zeros" if points else ""
    yield f"{_named(models, 'models')} pruned{shares} by {_named(methods, 'methods')}."
    allocators = [labels[f"allocators/{name}"] for name in dict.fromkeys(cell.allocator for cell in pruned)]
    if len(allocators) > 1:
        yield f"Allocators, which say how sparse each part is: {_named(allocators, 'allocators')}."
    calibrations = list(dict.fromkeys(cell.calibration for cell in pruned if cell.calibration != NO_CALIBRATION))
    seeds = {cell.seed for cell in pruned if cell.calibrated}
    if calibrations:
        yield f"Calibration: {_named(calibrations, 'texts')}, {len(seeds)} seed{'s' * (len(seeds) > 1)}."


def _unfinished(rows: pd.DataFrame) -> Iterator[str]:
    counts = layout.statuses(rows).value_counts()
    lacking = [f"{counts[status]} {status}" for status in ("missing", "failed", "skipped") if status in counts]
    if lacking:
        yield f"Not all cells have numbers ({', '.join(lacking)} of {counts.sum()}). What follows rests on the others."


def _made(plan: Plan, conditions: list[dict[str, Any]]) -> Iterator[str]:
    """Say when the newest result was measured, and with which libraries and on which machine most were."""
    files = {Path(plan.job("evaluate", **wildcards).output("measured").path) for wildcards in plan.evaluations}
    times = [file.stat().st_mtime for file in files if file.exists()]
    if times:
        yield f"The newest result is of {datetime.fromtimestamp(max(times), UTC):%-d %B %Y} (UTC)."
    if conditions:
        most = conditions[0]
        where = most["machine"] if most["device"] == "cpu" else f"{most['device']}, {most['machine']}"
        count = len(conditions) - 1
        others = f", and in {count} other way{'s' * (count > 1)}: see Provenance" if count else ""
        own = f"prunebench {most['prunebench']} (code {most['code']})"
        yield f"Computed with {own}, {most['libraries']}, on {where}{others}."


def _named(names: list[str], kind: str) -> str:
    """Name up to NAMED of `names` in a sentence, and count the others."""
    if len(names) > NAMED:
        return f"{len(names)} {kind}, such as {_named(names[:NAMED], kind)}"
    # Some titles have commas, as in "SparseLLM, tuned".
    return ("; " if any("," in name for name in names) else ", ").join(names)
