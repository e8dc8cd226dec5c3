"""Stage outputs: make all tables, figures and the report at once, from a results/cells.csv."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from prunebench.plan.plan import Plan, plan_of
from prunebench.stages.collect import write_cells
from prunebench.stages.figures import write_figure
from prunebench.stages.report import write_report
from prunebench.stages.tables import write_table

SCREEN = 30
"""The number of lines of tables that are printed after an error."""


def outputs(spec: str, *, cells: Path) -> str:
    """Gather all results of the plan that `spec` describes in `cells` (CSV), and make everything that rests on it.

    Returns the text of the tables, as much as fits on a screen: people should still see the error above it.
    """
    plan = plan_of(spec)
    write_cells(plan, cells)
    return "\n".join(["", *shown(write_outputs(plan, cells))])


def shown(tables: Iterable[Path], lines: int = SCREEN) -> Iterator[str]:
    """Yield the text of each of `tables` (Markdown), or its head and its file once all would take more than `lines`."""
    for table in tables:
        text = table.read_text(encoding="utf-8")
        head, *rest = text.splitlines()
        if len(rest) < lines:
            lines -= len(rest) + 1
            yield text
        else:
            lines -= 1
            yield f"{head} See {table}\n"


def write_outputs(plan: Plan, cells: Path) -> list[Path]:
    """Make everything that people read from the CSV `cells`; returns the tables in Markdown."""
    tables = [plan.job("tables", study=study, table=table) for study, table in plan.shown.tables]
    for job in tables:
        write_table(plan, cells, job.wildcards["study"], job.wildcards["table"], job.outputs)
    for study, figure in plan.shown.figures:
        write_figure(plan, cells, study, figure, plan.job("figures", study=study, figure=figure).outputs)
    write_report(plan, cells, plan.job("report").outputs[0])
    return [job.outputs[0] for job in tables]
