"""Stage strict: fail the whole run if any cell has no result, so that CI notices."""

import csv
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.storage.sealed import check_mark

SHOWN = ("model", "method", "allocator", "pattern", "sparsity", "suite", "status", "reason")


def strict(*, cells: Path) -> None:
    """Raise PrunebenchError, which lists the rows of the CSV `cells` that are neither ok nor skipped."""
    check_mark(cells)
    with cells.open(encoding="utf-8") as file:
        bad = [row for row in csv.DictReader(file) if row["status"] not in ("ok", "skipped")]
    if bad:
        lines = (" ".join(row[name] for name in SHOWN) for row in bad)
        raise PrunebenchError("\n".join(["cells without a result:", *lines]))
