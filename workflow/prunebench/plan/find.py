"""Finds the study or the cell of a plan that a user means."""

import difflib
import re
from pathlib import Path

from prunebench.cell import Cell
from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.plan import Plan
from prunebench.registry import did_you_mean

_AROUND = re.compile(r"^(results/(pruned|evaluations)|logs/(prune|evaluate))/|\.log$")
SHOWN = 10
"""The largest number of cells that are listed when a name fits several."""


def studies(plan: Plan, name: str | None) -> list[str]:
    """The study `name`, or all studies if it is None. Raises PrunebenchError with the nearest name if there is none."""
    if name is None or name in plan.studies:
        return [name] if name else list(plan.studies)
    raise PrunebenchError(
        f"no study {name!r} in {plan.file}{did_you_mean(name, plan.studies)}\n"
        "A study of another file is reached with --configfile, as in --configfile config/studies/smoke.yaml"
    )


def cell(plan: Plan, name: str) -> Cell:
    """The cell that `name` means.

    `name` is the path of the cell, of a result or of a log of it, or a part that fits no other cell (wanda/owl/0.70).
    Raises PrunebenchError with the nearest names if it fits no cell or several.
    """
    root = Path.cwd()
    place = Path(name).relative_to(root) if Path(name).is_relative_to(root) else Path(name)
    query = "/".join(_AROUND.sub("", place.as_posix()).split("/")[:5])
    cells = {path_of(cell): cell for study in plan.studies.values() for cell in study.suites}
    if query in cells:
        return cells[query]
    fitting = [path for path in cells if all(part in path for part in query.split("/"))]
    if len(fitting) == 1:
        return cells[fitting[0]]
    if fitting:
        raise PrunebenchError("\n  ".join([f"{name!r} fits several cells, give more of one:", *fitting[:SHOWN]]))
    near = difflib.get_close_matches(query, cells, n=3, cutoff=0)
    raise PrunebenchError("\n  ".join([f"no cell {query!r} in the studies of {plan.file}, the nearest are:", *near]))


def path_of(cell: Cell) -> str:
    """The name of `cell` in paths, which commands take as well."""
    return paths.CELL.format(**cell.wildcards)
