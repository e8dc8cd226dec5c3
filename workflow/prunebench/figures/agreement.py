"""How well the one-shot perplexity of a search ranks allocations for the pruning that follows."""

import pandas as pd

from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look
from prunebench.figures.points import geometric_mean, tests
from prunebench.tables import layout


def agreement_chart(cells: pd.DataFrame, look: Look) -> Chart:
    """What a search has promised against what came out: a panel per text, a point per allocator.

    `cells` are rows of results/cells.csv with the column `promised`, the perplexity in the search; seeds are averaged.
    The notes give Spearman's rank correlation of each line.
    """
    panels, correlations = [], []
    for title, rows in tests(cells, look):
        series = []
        for index, (label, part) in enumerate(_kinds(rows[rows["promised"].notna()], look)):
            line = _points(part, label, index, look)
            series.append(line)
            correlation = rank_correlation(pd.Series(line.x), pd.Series(line.y))
            correlations.append(f"{', '.join(filter(None, [line.label, title]))} {correlation:.2f} ({len(line.x)})")
        panels.append(Panel(title, series))
    spearman = f" Spearman's rank correlation (points): {'; '.join(correlations)}." if correlations else ""
    return Chart(
        title="Perplexity in the search, of one-shot masks, against that of the pruned model",
        x=Axis("Perplexity in the search (tuning split)", log=True),
        y=Axis("Perplexity of the pruned model", log=True),
        panels=panels,
        notes=[f"Rests on {layout.counts(cells)}{spearman}"],
        columns=2,
    )


def rank_correlation(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Spearman's rho: the correlation of ranks, ties at their mean. NaN if all of one are equal."""
    return float(x.rank().corr(y.rank()))


def _kinds(rows: pd.DataFrame, look: Look) -> list[tuple[str, pd.DataFrame]]:
    """Rows of one method, calibration and sparsity, and what they are called."""
    several = rows["calibration"].nunique() > 1
    kinds = rows.groupby(["method", "calibration", *layout.POINT], sort=False)
    return [
        (
            ", ".join(
                [look.title(f"methods/{method}"), *([str(calibration)] if several else []), layout.point(part.iloc[0])]
            ),
            part,
        )
        for (method, calibration, *_), part in kinds
    ]


def _points(rows: pd.DataFrame, label: str, index: int, look: Look) -> Series:
    found = [
        (float(part["promised"].iloc[0]), geometric_mean(part["value"]), look.title(f"allocators/{allocator}"))
        for allocator, part in rows.groupby("allocator", sort=False)
    ]
    several = rows["seed"].nunique() > 1
    return Series(
        label=label,
        style=Style(index, index, index),
        x=[promised for promised, _, _ in found],
        y=[mean.value for _, mean, _ in found],
        low=[mean.low for _, mean, _ in found] if several else (),
        high=[mean.high for _, mean, _ in found] if several else (),
        names=[name for _, _, name in found],
        form="points",
    )
