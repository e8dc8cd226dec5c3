"""Perplexity against sparsity: a line per method and allocator, a panel per corpus."""

import pandas as pd

from prunebench.figures.chart import Axis, Chart, Panel, Series
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES, bands, dense_level, line, tests
from prunebench.tables import layout


def perplexity_chart(cells: pd.DataFrame, study: str, look: Look) -> Chart:
    """The perplexities of `study` among `cells` (rows of results/cells.csv whose suites measure perplexity).

    Several seeds give their geometric mean, and a band of one standard deviation of the log-perplexity. n:m patterns
    are single points. Points of which any seed has no number are left out.
    """
    mine = layout.of_study(cells, study)
    panels = [Panel(title, _series(rows, look), dense_level(rows, look)) for title, rows in tests(mine, look)]
    return Chart(
        title="Perplexity against sparsity, lower is better",
        x=Axis("Sparsity", percent=True, each=True),
        y=Axis("Perplexity", log=True),
        panels=panels,
        notes=[f"Rests on {layout.counts(mine)}{bands(mine)}"],
        columns=2,
    )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    return [
        line(part, look, by="sparsity", show="{:.0%}".format, form="line" if pattern == "unstructured" else "points")
        for (_, _, pattern, _), part in rows[rows["method"] != "dense"].groupby(SERIES, sort=False)
    ]
