"""Sparsity per block: what each allocator decides."""

import pandas as pd

from prunebench.figures import blocks
from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look
from prunebench.figures.palette import COLOURS


def allocation_chart(allocations: pd.DataFrame, expected: int, look: Look) -> Chart:
    """The sparsity of each block, its linears weighted by size: a line per allocator, a panel per model and sparsity.

    `allocations` has a row per allocation and block; `expected` is how many allocations the study wants. Several seeds
    give their mean, and a band from the lowest to the highest.
    """
    panels = [
        Panel(title, _series(rows, look), {"Target": float(point["sparsity"])})
        for title, point, rows in blocks.panels(allocations, look)
    ]
    return Chart(
        title="Sparsity of each block, by allocator",
        x=Axis("Block"),
        y=Axis("Sparsity of the block", percent=True),
        panels=panels,
        notes=[blocks.rests_on(allocations, expected, "allocations")],
        columns=3,
    )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    found = []
    for (allocator, calibration), part in rows.groupby(["allocator", "calibration"], sort=False):
        index = look.allocators.index(str(allocator))
        several = len(look.calibrations) > 1 and calibration in look.calibrations
        label = look.title(f"allocators/{allocator}") + (f", {calibration}" if several else "")
        # Colours come again before markers do: then the dash changes, so that no two lines differ in the marker alone.
        dash = look.calibrations.index(str(calibration)) if several else 0
        style = Style(index, index, dash + index // len(COLOURS))
        found.append(blocks.line(part, label, style, value="share", low="share", high="share"))
    return found
