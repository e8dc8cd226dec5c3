"""What is on disk of a plan's cells, as far as it is current: the only way from results to figures and report."""

import statistics
from functools import cache
from pathlib import Path
from typing import Any

from prunebench import paths
from prunebench.canonical import spec_hash
from prunebench.cells import Cell
from prunebench.files import read_json
from prunebench.plan import Plan
from prunebench.stages.collect import Digests, current


class Records:
    """Reads each result of `plan` once. A result from other settings, code or inputs than today's counts as missing."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._digests = Digests(plan)
        self._read = cache(lambda path: read_json(Path(path)))
        self.blocks = cache(self._blocks)

    def prune(self, cell: Cell) -> dict[str, Any]:
        """The prune.json of `cell`, or its status and reason."""
        spec = spec_hash(self._plan.specs.prune(cell))
        return current(paths.PRUNED.format(**cell.wildcards), spec, self._digests.of(cell))

    def evaluation(self, cell: Cell, suite: str) -> dict[str, Any]:
        """The result of `suite` on `cell`, or its status and reason."""
        spec = spec_hash(self._plan.specs.evaluation(cell, suite))
        path = paths.EVALUATION.format(**cell.wildcards, suite=suite)
        return current(path, spec, self._digests.of(cell, suite))

    def measured(self, cell: Cell, suite: str | None = None) -> dict[str, Any] | None:
        """What pruning `cell`, or evaluating `suite` on it, cost and ran on; None if there is no current result."""
        result = self.evaluation(cell, suite) if suite else self.prune(cell)
        pattern = paths.EVALUATION_MEASURED if suite else paths.PRUNE_MEASURED
        path = Path(pattern.format(**cell.wildcards, suite=suite))
        return read_json(path) if result["status"] != "missing" and path.exists() else None

    def _blocks(self, cell: Cell) -> list[dict[str, float]]:
        """Of each block of `cell`: the `share` of zeros it was given and the fraction of `zeros` that it has.

        Where text was looked at, also the reconstruction error of its linears: median (`error`), `low` and `high`.
        """
        record = self.prune(cell)
        if record["status"] != "ok":
            return []
        shares = self._read(self._plan.allocation(cell))["sparsities"]
        return [{"block": index, **summary(block["linears"], shares)} for index, block in enumerate(record["blocks"])]


def summary(linears: dict[str, dict[str, Any]], shares: dict[str, float]) -> dict[str, float]:
    """One block in a few numbers, from the record of its linears and the `shares` of zeros they were given."""
    total = sum(linear["weights"] for linear in linears.values())
    found = {
        "share": sum(shares[name] * linear["weights"] for name, linear in linears.items()) / total,
        "zeros": sum(linear["zeros"] for linear in linears.values()) / total,
    }
    errors = [linear["reconstruction_error"] for linear in linears.values() if "reconstruction_error" in linear]
    if errors:
        found |= {"low": min(errors), "error": statistics.median(errors), "high": max(errors)}
    return found
