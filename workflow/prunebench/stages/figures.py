"""Stage figures: one figure of one study, in every format."""

from collections.abc import Sequence
from pathlib import Path

from prunebench.figures.draw import save
from prunebench.figures.make import make_chart
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records
from prunebench.tables.make import read_cells


def write_figure(plan: Plan, cells: Path, study: str, figure: str, outputs: Sequence[Path]) -> None:
    """Make `figure` of `study` from the CSV `cells` and the current results of its cells, once per output."""
    chart = make_chart(plan, read_cells(cells), Records(plan), study, figure)
    for output in outputs:
        save(chart, output)
