"""Stage figures: draw one figure of one study, in every format."""

from collections.abc import Sequence
from pathlib import Path

from prunebench.figures.draw import save
from prunebench.figures.make import make_chart
from prunebench.plan.plan import Plan, plan_of
from prunebench.results.detail import Records
from prunebench.results.place import among_results
from prunebench.tables.make import current_cells


def figures(spec: str, *, cells: Path, study: str, figure: str, outputs: Sequence[Path]) -> None:
    """Make `figure` of `study`, a study of the plan that `spec` describes, from the CSV `cells`, once per output."""
    plan, cells, outputs = plan_of(spec), cells.absolute(), [output.absolute() for output in outputs]
    with among_results(plan, cells):
        write_figure(plan, cells, study, figure, outputs)


def write_figure(plan: Plan, cells: Path, study: str, figure: str, outputs: Sequence[Path]) -> None:
    """Make `figure` of `study` from the CSV `cells` and the current results of its cells, once per output."""
    save(make_chart(plan, current_cells(plan, cells), Records(plan), study, figure), *outputs)
