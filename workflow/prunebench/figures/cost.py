"""The figure of cost: seconds of pruning against perplexity, which shows the methods that are worth their time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES, dense_level, geometric_mean, tests
from prunebench.runtime.digits import rounded
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.tables.base import Evidence

FRONT = "Pareto front"
ALONE = 0.9
"""A job that gets less than this part of the time of its threads ran beside other work."""


class CostFigure(StudyFigure):
    """CPU seconds of pruning against the perplexity of each method, with the Pareto front.
    There is a panel per corpus and sparsity, because only equals compare.

    If any job ran on an accelerator, all are compared by the clock, because no processor counts the accelerator's work.

    Methods that prune half of the blocks have a front of their own: they are not better for being nearer to the dense
    model. Cells without a time (a resumed job measures only its last part) are left out and counted. Seeds are
    averaged.
    """

    name = "cost"
    order = 80
    metrics = ("perplexity",)

    def make(self, evidence: Evidence) -> Chart:
        """Draw `rows`, and warn in a note if jobs ran beside other work."""
        chart = super().make(evidence)
        cells = self.cells(evidence.plan.shown, evidence.study)
        shares = [
            _share(cost) for cell in cells if (cost := evidence.records.measured(cell)) and cost["device"] == "cpu"
        ]
        return replace(chart, notes=[*chart.notes, *side_by_side(shares)])

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Draw `cells`: rows of results/cells.csv whose suites measure perplexity."""
        timed = cells[cells["prune_seconds"].notna()]
        counted = bool(len(timed)) and bool(timed["prune_cpu_seconds"].notna().all())
        seconds = "CPU seconds" if counted else "Seconds"
        cells = cells.assign(prune_seconds=cells["prune_cpu_seconds" if counted else "prune_seconds"])
        points = layout.points(cells[~cells["baseline"]])
        panels = [
            _panel(title, rows, point, look) for title, rows in tests(cells, look) for _, point in points.iterrows()
        ]
        pruned = cells[(cells["status"] == "ok") & ~cells["baseline"]]
        timeless = len(layout.statuses(pruned[pruned["prune_seconds"].isna()]))
        notes = [f"Rests on {layout.counts(cells)}"] + ([f"{timeless} without a time, not drawn."] if timeless else [])
        notes.append(f"{seconds} of the prune job, and of the allocation, profile and gradients that it rests on.")
        notes.append("On the front nothing is both faster and better.")
        return Chart(
            title=f"{seconds} of pruning against perplexity",
            x=Axis(f"{seconds} of pruning", log=True),
            y=Axis("Perplexity", log=True),
            panels=panels,
            notes=[" ".join(notes)],
            columns=min(len(points), 3),
        )


def _share(cost: Mapping[str, Any]) -> float:
    """Compute which part of the time of its threads a job was given, from its measured.json."""
    return float(cost["cpu_seconds"] / (cost["seconds"] * int(cost["threads"] or 1))) if cost["seconds"] else 1.0


def side_by_side(shares: list[float]) -> list[str]:
    """Warn in a note if jobs got less than ALONE of the time of their threads, as jobs do that run side by side."""
    slowed = sum(share < ALONE for share in shares)
    if not slowed:
        return []
    return [
        f"Caution: {slowed} of {len(shares)} jobs had less than {ALONE:.0%} of the time of their threads, because "
        "others ran beside them or they waited for the disk. Jobs side by side share caches and memory, which costs "
        "CPU seconds too. To compare times, run the study with --cores 1 (or as many as one job has threads)."
    ]


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
                names=[f"{look.label(first)}, {rounded(part['prune_seconds'].mean())} s"],
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
