"""Perplexity against the number of calibration samples: a line per method and allocator."""

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
    from prunebench.tables.base import Evidence

KIND = ["corpus", "seqlen"]
"""Samples of one kind compare; a sample of twice the length is another one."""


class CalibrationFigure(StudyFigure):
    """Perplexity against the number of calibration samples."""

    name = "calibration"
    order = 20
    metrics = ("perplexity",)

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """Cells beside which there are others with more or fewer samples."""
        return of_several_sizes(super().cells(shown, study))

    def make(self, evidence: Evidence) -> Chart:
        """See `calibration_chart`."""
        return calibration_chart(self.rows(evidence), evidence.study, Look.of(evidence))


def calibration_chart(cells: pd.DataFrame, study: str, look: Look) -> Chart:
    """The perplexities of `study` among `cells`: a panel per sparsity, text evaluated and kind of samples.

    Lines of a single point are left out, and so are points of which any seed has no number.
    """
    mine = _with_parts(layout.of_study(cells, study))
    sizes = mine.groupby(["model", "method", "allocator", *layout.POINT, *KIND])["samples"].transform("nunique")
    drawn = mine[sizes > 1]
    kinds = [_name(kind, look) for kind, _ in drawn.groupby(KIND, sort=False)]
    return Chart(
        title="Perplexity against calibration samples, lower is better",
        x=Axis("Calibration samples", log=True, each=True),
        y=Axis("Perplexity", log=True),
        panels=list(_panels(drawn, mine[mine["baseline"]], look)),
        notes=[f"Rests on {layout.counts(drawn)} Samples: {'; '.join(kinds)}.{bands(drawn)}"],
        columns=2,
    )


def _with_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with columns for what the name of their calibration says; empty where there is none."""
    import pandas as pd

    parts = [calibration_parts(name) if name != NO_CALIBRATION else (None,) * 3 for name in rows["calibration"]]
    return rows.join(pd.DataFrame(parts, index=rows.index, columns=["corpus", "samples", "seqlen"]))


def _panels(drawn: pd.DataFrame, dense: pd.DataFrame, look: Look) -> Iterator[Panel]:
    import pandas as pd

    of_line = replace(look, calibrations=(), patterns=())  # which the panel's title says
    several = len(drawn[KIND].drop_duplicates()) > 1
    for _, point in layout.points(drawn).iterrows():
        for title, rows in tests(pd.concat([dense, drawn]), look):
            here = rows[(rows[layout.POINT] == point).all(axis=1)]
            for kind, part in here.groupby(KIND, sort=False):
                series = [
                    line(of, of_line, by="samples", show="{:g} samples".format)
                    for _, of in part.groupby(["method", "allocator"], sort=False)
                ]
                names = [title, layout.point(point), _name(kind, look) if several else ""]
                yield Panel(", ".join(filter(None, names)), series, dense_level(rows, look))


def _name(kind: Any, look: Look) -> str:
    corpus, seqlen = kind
    return f"{look.title(f'corpora/{corpus}')}, {seqlen:.0f} tokens each"
