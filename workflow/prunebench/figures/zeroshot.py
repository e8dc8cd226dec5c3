"""The figure of accuracies: the mean over the tasks of a suite against sparsity."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES, tests
from prunebench.suites.metrics import headlines
from prunebench.tables import layout
from prunebench.tables.means import centre

if TYPE_CHECKING:
    import pandas as pd

BANDED = 3
"""The most lines of a panel that have bands. More bands cover each other."""
APART = 0.008
"""The width over which points of one sparsity are spread, so that their bars do not cover each other."""


class ZeroshotFigure(StudyFigure):
    """Accuracy against sparsity, as the mean over the tasks of a suite where there is one.
    There is a line per method and allocator, and a panel per model and suite; n:m patterns are single points.

    Bars and bands are one standard error of the sample of rows, or with several seeds their standard deviation. Points
    where any seed has no number are left out.
    """

    name = "zeroshot"
    order = 15
    metrics = ("acc",)

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Draw `cells`: rows of results/cells.csv whose suites measure accuracy."""
        tasks = cells.dropna(subset="metric").groupby("suite")["task"].unique().map(headlines)
        cells = cells.loc[[row.task in tasks.get(row.suite, ()) or row.status != "ok" for row in cells.itertuples()]]
        panels = [
            Panel(title, _series(rows, look), _level(rows, look)) for title, rows in tests(cells, look) if len(rows)
        ]
        notes = [f"Rests on {layout.counts(cells)}"]
        errors = [
            (high - low) / 2
            for panel in panels
            for series in panel.series
            for low, high in zip(series.low, series.high, strict=True)
        ]
        if errors:
            spread = "standard deviation over seeds" if cells["seed"].nunique() > 1 else "standard error of the rows"
            notes.append(
                f"Bars and bands: one {spread}, up to {100 * max(errors):.1f} points; bands where lines are few."
            )
        return Chart(
            title="Accuracy against sparsity, higher is better",
            x=Axis("Sparsity", percent=True, each=True),
            y=Axis("Accuracy", percent=True),
            panels=[_spread_out(panel) for panel in panels],
            notes=[" ".join(notes)],
            columns=2,
        )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    pruned = rows[~rows["baseline"]]
    parts = [part for _, part in pruned.groupby(SERIES, sort=False)]
    return [_line(part, look, banded=len(parts) <= BANDED) for part in parts]


def _line(rows: pd.DataFrame, look: Look, *, banded: bool) -> Series:
    label, points = look.label(rows.iloc[0]), []
    for sparsity, part in rows.groupby("sparsity"):
        mean, deviation = centre(part["value"], log=False)
        error = part["stderr"].astype(float).mean() if deviation is None else deviation
        points.append((float(str(sparsity)), mean, 0.0 if error != error else float(error)))
    form: Literal["line", "points"] = "line" if len(points) > 1 else "points"
    bounds = form == "points" or banded
    return Series(
        label=label,
        style=look.style(rows.iloc[0]),
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        low=[y - error for _, y, error in points] if bounds else (),
        high=[y + error for _, y, error in points] if bounds else (),
        names=[f"{label}, {x:.0%}" for x, _, _ in points],
        form=form,
    )


def _level(rows: pd.DataFrame, look: Look) -> dict[str, float]:
    """Make the level of each method that leaves the model as it is."""
    dense = rows[rows["baseline"]].groupby("method", sort=False)["value"].mean()
    return {look.title(f"methods/{method}"): float(value) for method, value in dense.items()}


def _spread_out(panel: Panel) -> Panel:
    """Move single points of one sparsity apart."""
    alone = [series for series in panel.series if series.form == "points"]
    steps = {id(series): index / max(1, len(alone) - 1) - 0.5 for index, series in enumerate(alone)}
    moved = [
        replace(series, x=[x + APART * steps[id(series)] for x in series.x]) if id(series) in steps else series
        for series in panel.series
    ]
    return replace(panel, series=moved)
