"""The runs that were made here: the config of each is kept beside its results, and a page leads to all reports.

Results of one config are therefore no orphans of another, also when the file of the config has gone.
"""

import csv
import json
from html import escape
from pathlib import Path

from prunebench.cell import AXES
from prunebench.errors import PrunebenchError
from prunebench.names import few
from prunebench.plan import paths
from prunebench.plan.plan import Plan, load_plan, read_plan
from prunebench.results.configs import files, read, records
from prunebench.results.current import Results
from prunebench.storage.files import write_text
from prunebench.view.states import states

NAMED = 4
"""The largest number of configs that a message names."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>prunebench: all results here</title>
<link rel="icon" href="data:,">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
th, td {{ text-align: left; padding: 0.3rem 1rem 0.3rem 0; vertical-align: top; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>Results</h1>
<p>Each config that was run here, and its report.</p>
<table>
<thead><tr><th>Studies</th><th>Config</th><th>Cells done</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def remember(plan: Plan) -> None:
    """Keep the config of `plan`, which is about to run, beside its results, and name it on the index page."""
    record = Path(paths.CONFIG_RECORD.format(home=plan.home))
    write_text(record, json.dumps({"file": plan.file, "config": plan.raw}, indent=1, sort_keys=True) + "\n")
    write_index()


def check_begun(plan: Plan, results: Results) -> None:
    """Raise PrunebenchError if no run of `plan` has begun here and no other run has made one of its `results`.

    The config that `prunebench init` writes may never be run, and tables of it would stand beside real ones.
    """
    begun = any(state.status not in ("missing", "skipped") for state in states(plan, results, plan.studies))
    record = Path(paths.CONFIG_RECORD.format(home=plan.home))
    if begun or (record.is_file() and read(record)):
        return
    others = files()
    way = (
        f"name a config that was run: {few([f'--configfile {file}' for file in others], NAMED)}" if others else "run it"
    )
    raise PrunebenchError(f"{plan.file} was never run here, so nothing of it is there to show: {way}")


def known() -> list[Plan]:
    """Make the plans of all configs that were run here.

    A file that is still there counts as it is now. Raises PrunebenchError if such a file, or a record, has a mistake:
    whoever asks must not take results for orphans because a config cannot be read.
    """
    return list(map(_plan, records()))


def readable() -> tuple[list[Plan], list[str]]:
    """Make the plans of all configs that were run here, as `known` does, and list the mistakes of the others."""
    plans, mistakes = [], []
    for record in records():
        try:
            plans.append(_plan(record))
        except PrunebenchError as error:
            mistakes.append(str(error))
    return plans, mistakes


def _plan(record: Path) -> Plan:
    file, config = read(record)
    return read_plan(Path(file)) if Path(file).is_file() else load_plan(config, file)


def write_index() -> None:
    """Write the page that leads to the reports of all configs that were run here."""
    write_text(Path(paths.INDEX), _PAGE.format(rows="\n".join(map(_row, records()))))


def made(plan: Plan) -> str:
    """Say how many cells of `plan` are done and where its results are; "" if nobody has gathered them."""
    report = Path(paths.REPORT.format(home=plan.home))
    if not report.is_file():
        return ""
    return (
        f"{_done(Path(plan.home))} cells of {plan.file} have results. The tables are in {plan.home}/tables; figures "
        f"and all there is to know of each cell: {report}"
    )


def _row(record: Path) -> str:
    try:
        file, config = read(record)
    except PrunebenchError as error:
        return f'<tr><td colspan="3">{escape(str(error))}</td></tr>'
    home = record.parent
    studies = config.get("studies")
    entries = studies.items() if isinstance(studies, dict) else []
    titles = ", ".join(str(study.get("title") or name) for name, study in entries)
    report = home.relative_to(paths.HOME) / Path(paths.REPORT.format(home=home)).relative_to(home)
    shown = escape(titles or file)
    named = f'<a href="{escape(report.as_posix())}">{shown}</a>' if (paths.HOME / report).is_file() else shown
    return f"<tr><td>{named}</td><td><code>{escape(file)}</code></td><td>{_done(home)}</td></tr>"


def _done(home: Path) -> str:
    """Count the cells in the last cells.csv of `home` that have all numbers."""
    try:
        with Path(paths.CELLS.format(home=home)).open(encoding="utf-8", newline="") as file:
            rows = [(tuple(row[axis] for axis in AXES), row["status"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, csv.Error):
        return "not gathered yet"
    cells = {cell for cell, _ in rows}
    return f"{len(cells - {cell for cell, status in rows if status != 'ok'})} of {len(cells)}"
