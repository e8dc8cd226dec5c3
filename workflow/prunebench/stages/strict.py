"""Stage strict: fail the whole run if any cell has no result, so that CI notices."""

from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.names import few
from prunebench.plan.plan import plan_of
from prunebench.tables.make import current_cells

NAMED = 4
"""The largest number of cells that the error names."""
SHOWN = ("model", "method", "allocator", "pattern", "sparsity", "suite", "status", "reason")


def strict(spec: str, *, cells: Path) -> None:
    """Raise PrunebenchError, which names rows of the CSV `cells` that are neither ok nor skipped.

    `spec` describes the plan for which `cells` must have been gathered.
    """
    rows = current_cells(plan_of(spec), cells)
    bad = rows[~rows["status"].isin(("ok", "skipped"))]
    if len(bad):
        lines = [" ".join(map(str, row)) for row in bad[list(SHOWN)].to_numpy()]
        raise PrunebenchError(f"cells without a result (all are in {cells}): {few(lines, NAMED)}")
