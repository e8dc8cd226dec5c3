"""All tables, figures and the report at once, from a results/cells.csv."""

from pathlib import Path

from prunebench.plan import paths
from prunebench.plan.plan import Plan
from prunebench.stages.figures import write_figure
from prunebench.stages.report import write_report
from prunebench.stages.tables import write_table


def write_outputs(plan: Plan, cells: Path) -> list[Path]:
    """Make everything that people read from the CSV `cells`; returns the tables in Markdown."""
    tables = {
        (study, table): [Path(path) for path in plan.shown.table_files(study, table)]
        for study, table in plan.shown.tables
    }
    for (study, table), files in tables.items():
        write_table(plan, cells, study, table, files)
    for study, figure in plan.shown.figures:
        write_figure(plan, cells, study, figure, [Path(path) for path in plan.shown.figure_files(study, figure)])
    write_report(plan, cells, Path(paths.REPORT))
    return [files[0] for files in tables.values()]
