"""Tables of handmade rows, without a plan."""

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pandas as pd

from prunebench.registry import load
from prunebench.tables.table import Table


def lay_out(
    table: str,
    cells: pd.DataFrame,
    study: str,
    labels: Mapping[str, str] | None = None,
    *,
    half: Collection[str] = (),
    even: Collection[str] = ("uniform",),
    find: Callable[..., Any] | None = None,
) -> Table:
    """`table` of `study` from rows of results/cells.csv; `find` gives the published values of a cell on a suite."""
    evidence = SimpleNamespace(study=study, labels=labels or {}, half=half, even=even, computations={}, published=find)
    made: Table = load("tables", table)().make(cells, evidence)
    return made
