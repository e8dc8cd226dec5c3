"""The figure of cost: seconds of pruning against perplexity, which shows the methods that are worth their time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES, dense_level, geometric_mean, tests
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd


FRONT = "Pareto front"


class CostFigure(StudyFigure):
    """Seconds of pruning against the perplexity of each method, with the Pareto front.
    There is a panel per corpus and sparsity, because only equals compare.

    Methods that prune half of the blocks have a front of their own: they are not better for being nearer to the dense
    model. Cells without a time (a resumed job measures only its last part) are left out and counted. Seeds are
    averaged.
    """

    name = "cost"
    order = 80
    metrics = ("perplexity",)

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Draw `cells`: rows of results/cells.csv whose suites measure perplexity."""
        points = layout.points(cells[~cells["baseline"]])
        panels = [
            _panel(title, rows, point, look) for title, rows in tests(cells, look) for _, point in points.iterrows()
        ]
        pruned = cells[(cells["status"] == "ok") & ~cells["baseline"]]
        timeless = len(layout.statuses(pruned[pruned["prune_seconds"].isna()]))
        notes = [f"Rests on {layout.counts(cells)}"] + ([f"{timeless} without a time, not drawn."] if timeless else [])
        notes.append("Seconds of the prune job, and of the allocation, profile and gradients that it rests on.")
        notes.append("On the front nothing is both faster and better.")
        return Chart(
            title="Seconds of pruning against perplexity",
            x=Axis("Seconds of pruning", log=True),
            y=Axis("Perplexity", log=True),
            panels=panels,
            notes=[" ".join(notes)],
            columns=min(len(points), 3),
        )


def _panel(title: str, rows: pd.DataFrame, point: pd.Series[str], look: Look) -> Panel:
    timed = layout.at_point(rows[~rows["baseline"] & rows["prune_seconds"].notna()], point)
    series = []
    alike: dict[bool, list[tuple[float, float]]] = {}
    for _, part in timed.groupby(SERIES, sort=False):
        first = part.iloc[0]
        mean = geometric_mean(part["value"])
        several = len(part) > 1
        series.append(
            Series(
                label=look.label(first),
                style=look.style(first),
                x=[float(part["prune_seconds"].mean())],
                y=[mean.value],
                low=[mean.low] if several else (),
                high=[mean.high] if several else (),
                names=[f"{look.label(first)}, {part['prune_seconds'].mean():.3g} s"],
                form="points",
            )
        )
        alike.setdefault(first["allocator"] in look.partial, []).append((series[-1].x[0], series[-1].y[0]))
    series += [pareto_front(points, partial=partial) for partial, points in alike.items() if len(points) > 1]
    heading = f"{title}, {layout.point(point)}" if title else layout.point(point)
    return Panel(heading, series, dense_level(rows, look))


def pareto_front(points: list[tuple[float, float]], *, partial: bool = False) -> Series:
    """Join by steps the points that no other beats in both coordinates. `partial`: half of the blocks are pruned."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    label = f"{FRONT}, half of the blocks" if partial else FRONT
    return Series(
        label=label,
        style=Style(marker=None, dash=3 if partial else 2),
        x=[x for x, _ in front],
        y=[y for _, y in front],
        names=[label] * len(front),
        form="steps",
    )
