"""Every table passes these tests, whatever it shows. A new file in tables/ is tested without a change here."""

from pathlib import Path

import pandas as pd
import pytest

from contract import shown
from prunebench.plan.plan import Plan
from prunebench.registry import load, names
from prunebench.results.detail import Records
from prunebench.tables.make import make_table

TABLES = names("tables")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    return shown.plan(tmp_path)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("failed", [7, 1, 10**9], ids=["some", "none", "all"])
def test_it_lays_out_what_there_is(name: str, failed: int, plan: Plan) -> None:
    made = make_table(plan, shown.rows(plan, failed=failed), "tiny", name, Records(plan))
    width = len(made.stub) + len(made.columns)
    assert made.title and {len(row) for row in made.rows} <= {width}
    assert all(isinstance(entry, str) for row in made.rows for entry in row)
    assert all(row < len(made.rows) and column < len(made.columns) for row, column in made.bold)
    for format in ("md", "csv", "html", "tex"):
        assert made.render(format)
    if made.rows and failed > 1:
        assert made.rows[0][0] == "Tiny"


@pytest.mark.parametrize("name", TABLES)
def test_it_is_made_of_no_rows_at_all(name: str, plan: Plan) -> None:
    nothing = shown.rows(plan).iloc[:0]
    assert isinstance(nothing, pd.DataFrame)
    assert make_table(plan, nothing, "tiny", name, Records(plan)).rows == []


@pytest.mark.parametrize("name", TABLES)
def test_a_study_that_asks_for_it_has_it(name: str, plan: Plan) -> None:
    assert (("tiny", name) in plan.shown.tables) or not load("tables", name).asked
    assert isinstance(load("tables", name).belongs(plan.shown, "tiny"), bool)
