"""Exit non-zero if any cell of results/cells.csv is not ok or skipped: what CI wants to know."""

import csv
from argparse import Namespace
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.runtime import script


def main(arguments: Namespace) -> None:
    """List the cells that have no number."""
    with arguments.cells.open(encoding="utf-8") as file:
        bad = [row for row in csv.DictReader(file) if row["status"] not in ("ok", "skipped")]
    if bad:
        names = ("model", "method", "allocator", "pattern", "sparsity", "suite", "status", "reason")
        raise PrunebenchError("cells without a result:\n" + "\n".join(" ".join(row[n] for n in names) for row in bad))


if __name__ == "__main__":
    script.run(__doc__, main, cells=Path)
