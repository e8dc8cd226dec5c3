"""Finds the cell of a plan that a user means."""

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from prunebench.cell import Cell
from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.plan import Plan

_AROUND = re.compile(r"^(results/(pruned|evaluations)|logs/(prune|evaluate))/|\.log$")
SHOWN = 10
"""The largest number of cells that are listed when a name fits several."""


def cell(plan: Plan, name: str) -> Cell:
    """The cell that `name` means.

    `name` is the path of the cell, of a result or of a log of it, or a part that fits no other cell (wanda/owl/0.70).
    Raises PrunebenchError with the nearest names if it fits no cell or several.
    """
    query = query_of(name)
    cells = {path_of(cell): cell for study in plan.studies.values() for cell in study.suites}
    if path := fitting(name, cells):
        return cells[path]
    near = difflib.get_close_matches(query, cells, n=3, cutoff=0)
    raise PrunebenchError("\n  ".join([f"no cell {query!r} in the studies of {plan.file}, the nearest are:", *near]))


def query_of(name: str) -> str:
    """The part of a cell's path in `name`, which may also be the path of a result or a log."""
    root = Path.cwd()
    place = Path(name).relative_to(root) if Path(name).is_relative_to(root) else Path(name)
    return "/".join(_AROUND.sub("", place.as_posix()).split("/")[:5])


def fitting(name: str, paths: Collection[str]) -> str | None:
    """The one of `paths` that `name` means: the path itself, or a part that fits no other (wanda/owl/0.70).

    None if it fits none. Raises PrunebenchError if it fits several.
    """
    query = query_of(name)
    if query in paths:
        return query
    fit = [path for path in paths if all(part in path for part in query.split("/"))]
    if len(fit) > 1:
        raise PrunebenchError("\n  ".join([f"{name!r} fits several cells, give more of one:", *fit[:SHOWN]]))
    return fit[0] if fit else None


def path_of(cell: Cell) -> str:
    """The name of `cell` in paths, which commands take as well."""
    return paths.CELL.format(**cell.wildcards)
