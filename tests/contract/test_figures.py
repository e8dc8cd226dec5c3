"""Every figure passes these tests, whatever it draws. A new file in figures/ is tested without a change here."""

from pathlib import Path

import pytest

from contract import shown
from prunebench.figures.draw import draw
from prunebench.figures.make import make_chart
from prunebench.plan.plan import Plan
from prunebench.registry import load, names
from prunebench.report.plots import plots
from prunebench.results.detail import Records

FIGURES = names("figures")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    return shown.plan(tmp_path)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("failed", [7, 1, 10**9], ids=["some", "none", "all"])
def test_it_draws_what_there_is(name: str, failed: int, plan: Plan) -> None:
    chart = make_chart(plan, shown.rows(plan, failed=failed), Records(plan), "tiny", name)
    assert chart.title and chart.x.title and chart.y.title and all(chart.notes)
    assert all(len(series.x) == len(series.y) for series in chart.series)
    assert draw(chart).axes or not chart.panels
    assert len(plots(chart)) == len(chart.panels)


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_in_the_studies_that_have_something_for_it(name: str, plan: Plan) -> None:
    kind = load("figures", name)
    drawn = kind.cells(plan.shown, "tiny")
    assert set(drawn) <= set(plan.studies["tiny"].cells)
    assert (("tiny", name) in plan.shown.figures) == bool(drawn or kind.searches(plan.shown, "tiny"))
