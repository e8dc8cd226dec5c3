"""Stage tables: make one table of one study, in every format."""

from collections.abc import Sequence
from pathlib import Path

from prunebench.plan.plan import Plan, plan_of
from prunebench.results.detail import Records
from prunebench.results.place import among_results
from prunebench.storage.files import write_text
from prunebench.tables.make import current_cells, make_table


def tables(spec: str, *, cells: Path, study: str, table: str, outputs: Sequence[Path]) -> None:
    """Make `table` of `study`, a study of the plan that `spec` describes, from the CSV `cells`, once per output."""
    plan, cells, outputs = plan_of(spec), cells.absolute(), [output.absolute() for output in outputs]
    with among_results(plan, cells):
        write_table(plan, cells, study, table, outputs)


def write_table(plan: Plan, cells: Path, study: str, table: str, outputs: Sequence[Path]) -> None:
    """Make `table` of `study` from the CSV `cells`, once per output; the format is the output's suffix."""
    made = make_table(plan, current_cells(plan, cells), study, table, Records(plan))
    for output in outputs:
        write_text(output, made.render(output.suffix.removeprefix(".")))
