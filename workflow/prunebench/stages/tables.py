"""Stage tables: one table of one study, in every format."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from prunebench.files import write_text
from prunebench.plan import Plan
from prunebench.tables.perplexity import perplexity_table

TABLES = {"perplexity": perplexity_table}


def write_table(plan: Plan, cells: Path, study: str, table: str, outputs: Sequence[Path]) -> None:
    """Make `table` of `study` from the CSV `cells`, once per output; the format is the output's suffix."""
    frame = pd.read_csv(cells, dtype={"sparsity": str})
    made = TABLES[table](frame, study, plan.labels())
    for output in outputs:
        write_text(output, made.render(output.suffix.removeprefix(".")))
