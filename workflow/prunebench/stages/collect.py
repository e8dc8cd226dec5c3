"""Stage collect: every result of a config's studies as one tidy table, one row per cell x suite x task x metric."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench import paths
from prunebench.assets.manifest import load_manifest
from prunebench.canonical import spec_hash
from prunebench.cells import Cell
from prunebench.files import read_json, sha256_file, write_text
from prunebench.plan import Plan

COLUMNS = (
    "study", "model", "method", "allocator", "pattern", "sparsity", "calibration", "seed", "suite", "task", "metric",
    "value", "stderr", "n", "status", "reason", "achieved_sparsity", "prune_seconds", "peak_memory_mb", "spec_hash",
)  # fmt: skip


def collect(plan: Plan, destination: Path) -> pd.DataFrame:
    """Write all rows to `destination` (CSV) and return them.

    A result that is missing, or was made from another spec than today's config and code, gets a row that says so
    and no value: an older number never passes for a current one.
    """
    digests = Digests(plan)
    rows = [
        {"study": study, **_axes(cell), "suite": suite, **row}
        for study, expansion in plan.studies.items()
        for suite in expansion.all_suites
        for cell, reason in [*((cell, None) for cell in expansion.cells), *expansion.skipped]
        if suite in expansion.suites[cell]
        for row in ([{"status": "skipped", "reason": reason}] if reason else _results(plan, cell, suite, digests))
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    write_text(destination, frame.to_csv(index=False, lineterminator="\n"))
    return frame


def _axes(cell: Cell) -> dict[str, Any]:
    names = ("model", "method", "allocator", "pattern", "sparsity", "calibration", "seed")
    return {name: getattr(cell, name) for name in names}


def _results(plan: Plan, cell: Cell, suite: str, digests: "Digests") -> Iterator[dict[str, Any]]:
    spec = spec_hash(plan.specs.evaluation(cell, suite))
    where = {**cell.wildcards, "suite": suite}
    inputs = digests.of(cell, suite)
    pruned = current(paths.PRUNED.format(**where), spec_hash(plan.specs.prune(cell)), inputs)
    evaluated = current(paths.EVALUATION.format(**where), spec, inputs)
    shared = {"spec_hash": spec, "achieved_sparsity": pruned.get("achieved_sparsity")}
    if pruned["status"] != "missing":
        shared |= _cost(where)
    if evaluated["status"] != "ok":
        yield {**shared, "status": evaluated["status"], "reason": evaluated["reason"]}
        return
    for score in evaluated["scores"]:
        yield {**shared, "status": "ok", **{key: score[key] for key in ("task", "metric", "value", "stderr", "n")}}


class Digests:
    """Digests of what a cell was made from, as it is on disk now; under the names that results record."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._asset = cache(lambda path: load_manifest(Path(path)).digest if Path(path).exists() else None)
        self._file = cache(lambda path: sha256_file(Path(path)) if Path(path).exists() else None)

    def of(self, cell: Cell, suite: str | None = None) -> dict[str, str | None]:
        """Digest by name, of what `suite` reads too if one is given; None for what is not here."""
        found = {
            "model": self._asset(paths.MODEL.format(model=cell.model)),
            "allocation": self._file(self._plan.allocation(cell)),
            "tokens": self._file(paths.TOKENS.format(**cell.wildcards)) if cell.calibrated else None,
        }
        assets = self._plan.method_assets(cell.method) + (self._plan.suite_assets(suite) if suite else ())
        return found | {name: self._asset(paths.ASSET.format(asset=name)) for name in assets}


def current(path: str, expected: str, inputs: dict[str, str | None]) -> dict[str, Any]:
    """The result file at `path` if it was made from the expected spec and inputs, else why there is none."""
    if not Path(path).exists():
        return {"status": "missing", "reason": "not run, or stopped by an error: see its log"}
    record: dict[str, Any] = read_json(Path(path))
    if record["spec_hash"] != expected:
        return {"status": "missing", "reason": "on disk from other settings or code: run snakemake again"}
    if changed := [name for name, digest in record["inputs"].items() if inputs.get(name) != digest]:
        return {"status": "missing", "reason": f"on disk from another {' and '.join(changed)}: run snakemake again"}
    return record


def _cost(where: dict[str, Any]) -> dict[str, Any]:
    path = Path(paths.PRUNE_MEASURED.format(**where))
    if not path.exists():
        return {}
    measured = read_json(path)
    # A resumed job measured only its last part: no time is better than a wrong one.
    seconds = None if measured["resumed_at"] else measured["seconds"]
    return {"prune_seconds": seconds, "peak_memory_mb": measured["peak_memory_mb"]}
