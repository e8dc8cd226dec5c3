"""The figure of calibration: perplexity against the number of calibration samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prunebench.cell import NO_CALIBRATION
from prunebench.config.schema import calibration_parts
from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel
from prunebench.figures.look import Look
from prunebench.figures.points import bands, dense_level, line, of_several_sizes, tests
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown

KIND = ["corpus", "seqlen"]
"""The columns that say of which kind samples are. Numbers compare within one kind only."""


class CalibrationFigure(StudyFigure):
    """Perplexity against the number of calibration samples, with a line per method and allocator.
    There is a panel per sparsity, text evaluated and kind of samples.

    Lines of a single point are left out, and so are points where any seed has no number.
    """

    name = "calibration"
    order = 20
    metrics = ("perplexity",)

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells beside which there are others with more or fewer samples."""
        return of_several_sizes(super().cells(shown, study))

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Draw `cells`: rows of results/cells.csv whose suites measure perplexity."""
        cells = _with_parts(cells)
        sizes = cells.groupby(["model", "method", "allocator", *layout.POINT, *KIND])["samples"].transform("nunique")
        drawn = cells[sizes > 1]
        kinds = [_name(kind, look) for kind, _ in drawn.groupby(KIND, sort=False)]
        return Chart(
            title="Perplexity against calibration samples, lower is better",
            x=Axis("Calibration samples", log=True, each=True),
            y=Axis("Perplexity", log=True),
            panels=list(_panels(drawn, cells[cells["baseline"]], look)),
            notes=[f"Rests on {layout.counts(drawn)} Samples: {'; '.join(kinds)}.{bands(drawn)}"],
            columns=2,
        )


def _with_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the columns corpus, samples and seqlen, which the names of calibrations say; empty where there is none."""
    import pandas as pd

    parts = [calibration_parts(name) if name != NO_CALIBRATION else (None,) * 3 for name in rows["calibration"]]
    return rows.join(pd.DataFrame(parts, index=rows.index, columns=["corpus", "samples", "seqlen"]))


def _panels(drawn: pd.DataFrame, dense: pd.DataFrame, look: Look) -> Iterator[Panel]:
    import pandas as pd

    plain = replace(look, calibrations=(), patterns=())  # the panel's title names these
    several = len(drawn[KIND].drop_duplicates()) > 1
    for _, point in layout.points(drawn).iterrows():
        for title, rows in tests(pd.concat([dense, drawn]), look):
            for kind, part in layout.at_point(rows, point).groupby(KIND, sort=False):
                series = [
                    line(entry, plain, by="samples", show="{:g} samples".format)
                    for _, entry in part.groupby(["method", "allocator"], sort=False)
                ]
                names = [title, layout.point(point), _name(kind, look) if several else ""]
                yield Panel(", ".join(filter(None, names)), series, dense_level(rows, look))


def _name(kind: Any, look: Look) -> str:
    corpus, seqlen = kind
    return f"{look.title(f'corpora/{corpus}')}, {seqlen:.0f} tokens each"
