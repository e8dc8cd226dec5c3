"""The course of searches as a figure, from result files to what is drawn."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prunebench.figures.chart import Chart
from prunebench.figures.draw import draw
from prunebench.figures.make import make_chart
from prunebench.figures.palette import colour, dash, marker
from prunebench.figures.search import course
from prunebench.identity.canonical import spec_hash
from prunebench.plan import paths
from prunebench.plan.jobs.search import SearchAllocation
from prunebench.plan.plan import Plan, load_plan
from prunebench.report.data import gather
from prunebench.report.plots import plots
from prunebench.results.detail import Records
from prunebench.stages.collect import COLUMNS, write_cells
from prunebench.stages.figures import write_figure
from prunebench.stages.report import render
from prunebench.tables.make import read_cells
from studies import changed, grid

SEARCH = {"title": "Twenty parents", "model": "tiny", "sparsity": 0.7, "strategy": "evolution", "seeds": [0, 1]}
SEARCH |= {"calibration": "text_4x16", "corpus": "text"}
RANDOM = {**SEARCH, "title": "By chance", "strategy": "random"}
NO_CELLS = pd.DataFrame(columns=list(COLUMNS))


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    # Results are handmade: the spec that they are to have is their name.
    monkeypatch.setattr(SearchAllocation, "spec", property(lambda job: "{search} {seed}".format(**job.wildcards)))
    return tmp_path


def planned(searches: dict[str, Any], **study: Any) -> Plan:
    config = grid({"method": "dense"}, searches=list(searches), **study)
    return load_plan(changed("searches", searches, config))


def history(*values: float | str) -> list[dict[str, Any]]:
    """A candidate per value; a word is why one was not evaluated."""
    found: list[dict[str, Any]] = []
    for value in values:
        spent = sum(entry["status"] == "ok" for entry in found)
        entry = {"candidate": f"W:{len(found)}", "reason": None}
        if isinstance(value, str):
            found.append({**entry, "evaluation": spent, "status": value, "value": None})
        else:
            found.append({**entry, "evaluation": spent + 1, "status": "ok", "value": value})
    return found


def write(name: str, seed: int, *values: float | str, uniform: float = 80.0, **more: Any) -> None:
    path = Path(paths.SEARCH.format(search=name, seed=seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "spec_hash": spec_hash(f"{name} {seed}"),
        "spec": {},
        "inputs": {},
        "status": "ok",
        "uniform": uniform,
        "history": history(*values),
    }
    path.write_text(json.dumps({**record, **more}))


def chart(plan: Plan) -> Chart:
    return make_chart(plan, NO_CELLS, Records(plan), "tiny", "search")


def test_the_best_so_far_never_rises_and_what_cost_nothing_is_no_step() -> None:
    assert course(history(90.0, "invalid", 70.0, 75.0, "known", 60.0)) == {1: 90.0, 2: 70.0, 3: 70.0, 4: 60.0}
    assert course(history("invalid")) == {}


def test_a_study_with_searches_has_the_figure_and_reads_their_results() -> None:
    plan = planned({"mine": SEARCH, "chance": {**RANDOM, "seeds": [3]}})
    assert plan.shown.figures == [("tiny", "search")]
    files = [
        "results/searches/mine/seed0.json",
        "results/searches/mine/seed1.json",
        "results/searches/chance/seed3.json",
    ]
    assert plan.job("figures", study="tiny", figure="search").input("searches") == files
    assert plan.job("report").input("searches") == files
    assert plan.job("figures", study="tiny", figure="perplexity").input("searches") == []
    assert load_plan(grid({"method": "dense"})).shown.figures == []


def test_a_line_is_the_geometric_mean_of_the_best_so_far_in_the_range_of_the_seeds() -> None:
    plan = planned({"mine": SEARCH, "chance": RANDOM})
    write("mine", 0, 100.0, "invalid", 50.0, 60.0, 50.0, 25.0, uniform=80.0)
    write("mine", 1, 400.0, 50.0, 40.0, "known", 40.0, uniform=20.0)
    write("chance", 0, 90.0, 95.0, 99.0)
    write("chance", 1, 90.0, 92.0, 60.0)
    made = chart(plan)
    (panel,) = made.panels
    assert panel.title == "Sparsity 70%"
    evolution, random = panel.series
    assert [evolution.label, random.label] == ["Evolution", "Random"]
    assert evolution.x == [1, 2, 3, 5], "where a seed improves, and the end"
    assert list(evolution.y) == pytest.approx([200, 50, math.sqrt(50 * 40), math.sqrt(25 * 40)])
    assert (evolution.low, evolution.high) == ([100, 50, 40, 25], [400, 50, 50, 40])
    assert random.x == [1, 3] and list(random.y) == pytest.approx([90, math.sqrt(90 * 60)])
    assert evolution.names[1] == "Evolution, 2 evaluations" and evolution.form == "steps"
    assert panel.levels == {"Uniform": pytest.approx((80 * 20 * 80 * 80) ** 0.25)}
    assert made.notes == [
        "Rests on 4 of 4 runs of searches. Candidates that were invalid (1) or the same as an earlier one (1) cost no "
        "evaluation. Lines: geometric mean over seeds. Bands: from the lowest to the highest."
    ]
    shown = {(colour(one.style), marker(one.style), dash(one.style)) for one in panel.series}
    assert len(shown) == 2
    bands = [trace for trace in plots(made)[0]["data"] if trace.get("fill")]
    assert [trace["line"]["shape"] for trace in bands] == ["hv", "hv"]
    (axes,) = draw(made).axes
    top = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (top.min(), top.max()) == (25, 400)


def test_a_panel_per_model_and_sparsity_and_the_same_line_for_the_same_strategy() -> None:
    searches = {
        f"{strategy}{sparsity}": {**SEARCH, "strategy": strategy, "sparsity": sparsity, "seeds": [0]}
        for sparsity in (0.7, 0.5)
        for strategy in ("random", "evolution")
    }
    plan = planned(searches)
    for name in searches:
        write(name, 0, 50.0, 40.0)
    made = chart(plan)
    assert [panel.title for panel in made.panels] == ["Sparsity 50%", "Sparsity 70%"]
    assert [[one.label for one in panel.series] for panel in made.panels] == [["Random", "Evolution"]] * 2
    assert len({one.style for one in made.series}) == 2
    assert "Bands" not in made.notes[0] and not made.series[0].low


def test_several_searches_of_one_strategy_have_their_titles() -> None:
    plan = planned({"mine": SEARCH, "other": {**SEARCH, "title": "Fewer parents"}, "chance": RANDOM})
    for name in ("mine", "other", "chance"):
        for seed in (0, 1):
            write(name, seed, 50.0)
    assert [one.label for one in chart(plan).series] == ["Twenty parents", "Fewer parents", "By chance"]


def test_a_search_of_which_a_seed_has_no_result_is_not_drawn_but_counted() -> None:
    plan = planned({"mine": SEARCH, "chance": RANDOM})
    write("mine", 0, 50.0)
    write("chance", 0, 50.0)
    write("chance", 1, 60.0)
    made = chart(plan)
    assert [one.label for one in made.series] == ["Random"]
    assert made.notes[0].startswith(
        "Rests on 3 of 4 runs of searches. missing: mine, seed 1: not run, or stopped by an error: see its log."
    )
    write("mine", 1, status="failed", reason="no candidate was valid")
    assert "failed: mine, seed 1: no candidate was valid." in chart(plan).notes[0]


def test_candidates_that_broke_the_model_hide_nothing() -> None:
    plan = planned({"mine": {**SEARCH, "seeds": [0]}})
    write("mine", 0, math.inf, 1e9, 50.0)
    made = chart(plan)
    assert made.series[0].x == [2, 3] and made.series[0].y == pytest.approx([1e9, 50.0])
    assert made.clipped() == ["↑ beyond the axis: Evolution, 2 evaluations: 1.0e9."]
    json.dumps(plots(made), allow_nan=False)


def test_without_any_result_the_figure_and_the_report_say_so(nowhere: Path) -> None:
    plan = planned({"mine": SEARCH})
    assert [text.get_text() for text in draw(chart(plan)).axes[0].texts] == ["no cell to show"]
    write_cells(plan, nowhere / "cells.csv")
    write_figure(plan, nowhere / "cells.csv", "tiny", "search", [nowhere / "search.svg"])
    page = render(gather(plan, read_cells(nowhere / "cells.csv")))
    assert "Best allocation function so far" in page and "Rests on 0 of 2 runs of searches." in page


def test_a_search_from_other_settings_is_not_drawn(nowhere: Path) -> None:
    write("evolved", 0, 90.0, spec_hash="of another spec")
    write("evolved", 1, 90.0, inputs={"model": "of another model"})
    made = chart(planned({"evolved": SEARCH}))
    assert not made.panels and "Rests on 0 of 2 runs" in made.notes[0]
    assert "from other settings or code" in made.notes[0] and "from another model" in made.notes[0]
