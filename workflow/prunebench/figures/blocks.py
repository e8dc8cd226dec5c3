"""The parts that figures over blocks share: a panel per model and sparsity, a line per label."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prunebench.cell import AXES, Cell
from prunebench.figures.chart import Series, Style
from prunebench.figures.look import Look
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd


BLOCK = ("share", "zeros", "low", "error", "high")
"""The values that the records of a cell have for each block (see Records.blocks)."""


def rows_of(
    cells: Iterable[Cell],
    read: Callable[[Cell], list[dict[str, float]]],
    columns: Sequence[str] = BLOCK,
    form: Callable[[Cell], Cell] = lambda cell: cell,
) -> pd.DataFrame:
    """Make a row for each entry that `read` gives for the blocks of `cells`. One cell is read for each `form`.

    Columns: the axes of the form, its `id`, the `block` and `columns`.
    """
    import pandas as pd

    # Columns, as a dict for each of a hundred thousand rows would take a gigabyte.
    table: dict[str, list[object]] = {name: [] for name in (*AXES, "id", "block", *columns)}
    drawn: set[Cell] = set()
    for cell in cells:
        if (shown := form(cell)) in drawn or not (entries := read(cell)):
            continue
        drawn.add(shown)
        for axis in AXES:
            table[axis] += [getattr(shown, axis)] * len(entries)
        table["id"] += [str(shown)] * len(entries)
        for name in ("block", *columns):
            table[name] += [entry.get(name, math.nan) for entry in entries]
    return pd.DataFrame(table)


def panels(rows: pd.DataFrame, look: Look) -> Iterator[tuple[str, pd.Series[str], pd.DataFrame]]:
    """Yield (title, point, rows) for each panel: one for each model and point (pattern and sparsity) of `rows`."""
    for model, of_model in rows.groupby("model", sort=False):
        for _, point in layout.points(of_model).iterrows():
            name = [look.title(f"models/{model}")] if rows["model"].nunique() > 1 else []
            yield ", ".join([*name, f"Sparsity {layout.point(point)}"]), point, layout.at_point(of_model, point)


def line(rows: pd.DataFrame, label: str, style: Style, *, value: str, low: str = "", high: str = "") -> Series:
    """Draw column `value` of each block, the mean where there are several seeds, with a band.

    The band reaches from the least `low` to the largest `high`. There is none where these are equal, or have no name.
    """
    named, ends = bool(low and high), (low or value, high or value)
    blocks = rows.groupby("block").agg(value=(value, "mean"), low=(ends[0], "min"), high=(ends[1], "max"))
    band = named and blocks["low"].lt(blocks["high"]).any() and (low != value or rows["seed"].nunique() > 1)
    return Series(
        label=label,
        style=style,
        x=[float(block) for block in blocks.index],
        y=blocks["value"].tolist(),
        low=blocks["low"].tolist() if band else (),
        high=blocks["high"].tolist() if band else (),
        names=[f"{label}, block {block}" for block in blocks.index],
    )


def rests_on(rows: pd.DataFrame, expected: int, what: str) -> str:
    """Say in a note how many of the expected cells (or allocations) are in `rows`."""
    return f"Rests on {rows['id'].nunique()} of {expected} {what}."
