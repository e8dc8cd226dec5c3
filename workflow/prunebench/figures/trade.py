"""Points of measured cells for figures: what the packed model of a cell has in one metric, against its perplexity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look
from prunebench.figures.points import dense_level, geometric_mean, tests
from prunebench.runtime.digits import rounded
from prunebench.suites.speed import DENSE, PACKED
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence

KEY = [*layout.ROW, *layout.POINT]


def drawn(shown: Shown, study: str) -> list[Cell]:
    """List the pruned cells of `study` of which speed and perplexity are measured."""
    texts = set(shown.measured(study, ["perplexity"]))
    return [cell for cell in shown.measured(study, ["decode"]) if cell in texts]


def against_perplexity(evidence: Evidence, metric: str, x: Axis, title: str, notes: list[str]) -> Chart:
    """Draw perplexity over `metric` (such as decode_1) of packed models; the dense model has a point of its own."""
    shown, look = evidence.plan.shown, Look.of(evidence)
    timed = layout.of_study(evidence.rows(shown.measuring(evidence.study, ["decode"])), evidence.study)
    timed = timed[timed["metric"] == metric]
    form = timed["baseline"].map({True: DENSE, False: PACKED})
    timed = timed[timed["task"] == form]
    values = {tuple(map(str, key)): float(part["value"].mean()) for key, part in timed.groupby(KEY, sort=False)}
    texts = layout.of_study(evidence.rows(shown.measuring(evidence.study, ["perplexity"])), evidence.study)
    texts = texts.loc[[key in values for key in texts[KEY].itertuples(index=False, name=None)]]
    panels = [
        Panel(name, list(_series(rows, values, look)), dense_level(rows, look)) for name, rows in tests(texts, look)
    ]
    return Chart(
        title=title,
        x=x,
        y=Axis("Perplexity", log=True),
        panels=panels,
        notes=notes,
        columns=max(1, min(len(panels), 2)),
    )


def _series(rows: pd.DataFrame, values: Mapping[tuple[str, ...], float], look: Look) -> list[Series]:
    series = []
    unpruned = len(look.methods)  # a colour and a marker that no pruning method has
    for _, part in rows.groupby(["baseline", "method", "allocator", "pattern", "calibration"], sort=False):
        first = part.iloc[0]
        label = look.title(f"methods/{first['method']}") if first["baseline"] else look.label(first)
        points = sorted(
            (values[tuple(map(str, key))], geometric_mean(seeds["value"]).value, layout.point(seeds.iloc[0]))
            for key, seeds in part.groupby(KEY, sort=False)
        )
        series.append(
            Series(
                label=label,
                style=Style(unpruned, unpruned) if first["baseline"] else look.style(first),
                x=[x for x, _, _ in points],
                y=[y for _, y, _ in points],
                names=[label if first["baseline"] else f"{label}, {point}, {rounded(x)}" for x, _, point in points],
                form="points" if first["baseline"] or len(points) == 1 else "line",
            )
        )
    return series
