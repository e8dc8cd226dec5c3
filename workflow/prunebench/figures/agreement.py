"""The figure of agreement: how well the one-shot perplexity of a search ranks allocations for the later pruning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prunebench.cell import AXES, Cell
from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look
from prunebench.figures.points import geometric_mean, tests
from prunebench.plan.grid import allocation_form, search_used
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.config.schema import Config
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class AgreementFigure(StudyFigure):
    """The perplexity that a search has promised for an allocator against the perplexity of the pruned model.
    There is a panel per text and a point per allocator; seeds are averaged.

    The notes give Spearman's rank correlation of the points of each method.
    """

    name = "agreement"
    order = 50
    metrics = ("perplexity",)

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells that a search has judged, if they have three or more allocators."""
        judged = [cell for cell in super().cells(shown, study) if _judged(shown.config, cell)]
        # Any ranking of two points is right or wrong by chance.
        return judged if len({cell.allocator for cell in judged}) > 2 else []

    @classmethod
    def rows(cls, evidence: Evidence) -> pd.DataFrame:
        """Select the rows of the drawn cells, with the column `promised`: the perplexity in the search."""
        import pandas as pd

        drawn = cls.cells(evidence.plan.shown, evidence.study)
        promised = {str(cell): evidence.records.promised(cell) for cell in drawn}
        rows = super().rows(evidence)
        axes: Iterable[Any] = rows[list(AXES)].to_dict("records")
        names = pd.Series([str(Cell(**cell)) for cell in axes], index=rows.index)
        return rows.assign(promised=names.map(promised))[names.isin(list(promised))]

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Draw `cells`: rows of results/cells.csv with the column `promised`, the perplexity in the search."""
        import pandas as pd

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


def _judged(config: Config, cell: Cell) -> bool:
    """Say whether a search has judged the allocator of `cell` on the same model, all of it, at the same sparsity."""
    whole = config.allocators[cell.allocator].layers == "all" and not cell.shape.structured
    search = search_used(config, allocation_form(config, cell)) if whole else None
    entry = config.searches[search.name] if search else None
    return entry is not None and (entry.model, entry.sparsity) == (cell.model, cell.sparsity)


def rank_correlation(x: pd.Series[float], y: pd.Series[float]) -> float:
    """Compute Spearman's rho: the correlation of ranks, ties at their mean. NaN if all values of one are equal."""
    return float(x.rank().corr(y.rank()))


def _kinds(rows: pd.DataFrame, look: Look) -> list[tuple[str, pd.DataFrame]]:
    """Split `rows` by method, calibration and sparsity; returns (label, rows) of each part."""
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
    parts = list(rows.groupby("allocator", sort=False))
    means = [geometric_mean(part["value"]) for _, part in parts]
    several = rows["seed"].nunique() > 1
    return Series(
        label=label,
        style=Style(index, index, index),
        x=[float(part["promised"].iloc[0]) for _, part in parts],
        y=[mean.value for mean in means],
        low=[mean.low for mean in means] if several else (),
        high=[mean.high for mean in means] if several else (),
        names=[look.title(f"allocators/{allocator}") for allocator, _ in parts],
        form="points",
    )
