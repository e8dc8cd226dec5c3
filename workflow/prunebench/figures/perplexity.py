"""Perplexity against sparsity: a line per method and allocator, a panel per corpus."""

import pandas as pd

from prunebench.figures.chart import Axis, Chart, Panel, Series
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES, dense_level, geometric_mean, tests
from prunebench.tables import layout


def perplexity_chart(cells: pd.DataFrame, study: str, look: Look) -> Chart:
    """The perplexities of `study` among `cells` (rows of results/cells.csv whose suites measure perplexity).

    Several seeds give their geometric mean, and a band of one standard deviation of the log-perplexity. n:m patterns
    are single points. Points of which any seed has no number are left out.
    """
    mine = layout.of_study(cells, study)
    panels = [Panel(title, _series(rows, look), dense_level(rows, look)) for title, rows in tests(mine, look)]
    seeds = mine["seed"].nunique()
    spread = f" Bands: one standard deviation over {seeds} seeds." if seeds > 1 else ""
    return Chart(
        title="Perplexity against sparsity, lower is better",
        x=Axis("Sparsity", percent=True),
        y=Axis("Perplexity", log=True),
        panels=panels,
        notes=[f"Rests on {layout.counts(mine)}{spread}"],
        columns=2,
    )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    found = []
    for _, part in rows[rows["method"] != "dense"].groupby(SERIES, sort=False):
        first = part.iloc[0]
        points = sorted(
            (float(str(sparsity)), geometric_mean(of["value"])) for sparsity, of in part.groupby("sparsity")
        )
        several = part["seed"].nunique() > 1
        found.append(
            Series(
                label=look.label(first),
                style=look.style(first),
                x=[sparsity for sparsity, _ in points],
                y=[mean.value for _, mean in points],
                low=[mean.low for _, mean in points] if several else (),
                high=[mean.high for _, mean in points] if several else (),
                names=[f"{look.label(first)}, {sparsity:.0%}" for sparsity, _ in points],
                form="line" if first["pattern"] == "unstructured" else "points",
            )
        )
    return found
