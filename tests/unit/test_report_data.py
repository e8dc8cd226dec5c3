"""The data of the report, for a study of which nothing has run. tests/dag tests the report of a finished study."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contract import shown
from pages import embedded
from prunebench.plan.plan import Plan, load_plan
from prunebench.report.about import cautions, protocol
from prunebench.report.cells import LAST, cell_table
from prunebench.report.data import gather
from prunebench.stages.collect import write_cells
from prunebench.stages.report import render, write_report
from prunebench.stages.strict import strict
from prunebench.storage.sealed import Damaged
from prunebench.tables.make import current_cells, read_cells
from studies import STUDY, changed, grid

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def collected(plan: Plan, directory: Path) -> pd.DataFrame:
    write_cells(plan, directory / "cells.csv")
    return read_cells(directory / "cells.csv")


def page(config: dict[str, Any], directory: Path) -> str:
    plan = load_plan(config)
    return render(gather(plan, collected(plan, directory)))


def test_a_study_of_which_nothing_has_run_has_a_report(nowhere: Path) -> None:
    text = page(grid({"method": ["dense", "wanda"], "sparsity": 0.5}), nowhere)
    data = embedded(text)
    assert {row["status"]["display"] for row in data["table"]["rows"]} == {"missing"}
    assert len(data["cells"]) == 2 and text.count("not run, or stopped by an error") >= 2
    assert "http" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL)


def test_the_boxes_add_up_to_the_number_of_cells(nowhere: Path) -> None:
    config = deepcopy(STUDY)
    rows = [{"method": ["dense", "wanda"], "sparsity": 0.5}, {"method": "wanda", "allocator": "owl", "pattern": "2of4"}]
    tiny = config["studies"]["tiny"] | {"grid": rows}
    for studies, total, shared in ((["a"], 3, False), (["a", "b"], 3, True)):
        text = " ".join(page(config | {"studies": dict.fromkeys(studies, tiny)}, nowhere).split())
        overview = text[text.index('id="overview"') : text.index('id="study-a"')]
        counts = [int(count) for count in re.findall(r"<dd>(\d+)</dd>", overview)]
        assert sum(counts) == total and counts[2:] == [1, 2], "skipped, missing"
        assert f": {total} cells in {len(studies)} stud" in overview
        assert ("cells of several studies count once" in overview) == shared
        assert overview.count('class="badge') == total
    one = config | {"studies": {"a": tiny | {"grid": [{"method": "dense"}]}}}
    assert ": 1 cell in 1 study." in " ".join(page(one, nowhere).split())


def test_nothing_in_a_config_becomes_markup(nowhere: Path) -> None:
    config = changed("models.tiny.title", HOSTILE, changed("studies.tiny.title", HOSTILE))
    assert HOSTILE not in page(config, nowhere)


def test_data_that_is_not_json_is_refused(nowhere: Path) -> None:
    plan = load_plan(grid({"method": "dense"}))
    gathered = gather(plan, collected(plan, nowhere))
    gathered["data"]["table"]["rows"][0]["seconds"]["sort"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        render(gathered)


def test_columns_that_vary_are_shown_and_empty_numbers_come_last(nowhere: Path) -> None:
    plan = load_plan(grid({"method": ["dense", "magnitude", "wanda"], "sparsity": 0.5}))
    cells = collected(plan, nowhere)
    score = {"status": "ok", "task": "text", "metric": "perplexity"}
    cells = cells.astype({"task": object, "metric": object})
    cells.loc[cells["method"] == "dense", [*score, "value"]] = [*score.values(), 12.345]
    cells.loc[cells["method"] == "wanda", [*score, "value"]] = [*score.values(), 1.6e8]
    made = cell_table(plan, cells)
    shown = [column["title"] for column in made["columns"] if column["shown"] and column["kind"] == "text"]
    assert shown == ["Status", "Method", "Sparsity", "Calibration"]
    (key,) = [column["key"] for column in made["columns"] if column["title"] == "Perplexity, Text"]
    assert [row[key]["display"] for row in made["rows"]] == ["12.35", "", "1.6e8"]
    assert [row[key]["sort"] for row in made["rows"]] == [12.345, LAST, 1.6e8]


def test_two_studies_that_share_a_cell_have_a_row_each_and_one_panel(nowhere: Path) -> None:
    config = grid({"method": "dense"})
    config["studies"]["again"] = config["studies"]["tiny"]
    plan = load_plan(config)
    gathered = gather(plan, collected(plan, nowhere))
    assert [row["study"]["display"] for row in gathered["data"]["table"]["rows"]] == ["tiny", "again"]
    assert len(list(gathered["details"])) == 1 and gathered["counts"]["missing"] == 1


def test_a_method_and_an_allocator_of_one_name_keep_their_titles() -> None:
    config = changed("methods.tuned", {"method": "sparsegpt", "title": "SparseGPT, tuned"}, grid({"method": "dense"}))
    labels = load_plan(changed("allocators.tuned", {"allocator": "owl", "title": "OWL, tuned"}, config)).shown.labels()
    assert (labels["methods/tuned"], labels["allocators/tuned"]) == ("SparseGPT, tuned", "OWL, tuned")


def test_it_says_how_far_the_numbers_carry() -> None:
    def said(**row: object) -> str:
        plan = load_plan(grid({"method": "wanda", "sparsity": 0.5, **row}))
        return " ".join([*protocol(plan, "tiny"), *cautions(plan, "tiny")])

    assert "4 windows of 16 tokens of Text" in said() and "Perplexity (ppl_tiny)" in said()
    assert "One seed:" in said() and "Two seeds:" in said(seed=[0, 1]) and "seeds:" not in said(seed=[0, 1, 2])


@pytest.mark.parametrize("name", ["nan", "null", "na", "007", "1e5", "true", "inf"])
def test_a_name_that_looks_like_a_number_or_like_nothing_stays_a_name(name: str, nowhere: Path) -> None:
    config = grid({"method": "dense"})
    config["models"][name] = {**config["models"]["tiny"], "title": "Named"}
    config["studies"] = {name: {**config["studies"]["tiny"], "grid": [{"model": name, "method": "dense"}]}}
    plan = load_plan(config)
    cells = collected(plan, nowhere)
    assert set(cells["model"]) == set(cells["study"]) == {name}


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["suites"]["ppl_tiny"]["params"].update(windows=3),
        lambda config: config["compute"].update(dtype="float32"),
        lambda config: config["studies"]["tiny"]["grid"].append(
            {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
        ),
        lambda config: config["studies"]["tiny"]["grid"].pop(),
        lambda config: config["studies"].update(other=config["studies"].pop("tiny")),
    ],
    ids=["suite", "compute", "more", "fewer", "study"],
)
def test_cells_that_were_gathered_for_another_config_are_refused(
    edit: Callable[[dict[str, Any]], object], nowhere: Path
) -> None:
    """Options of Snakemake such as --touch keep the file although the config is another one."""
    config = grid({"method": ["dense", "wanda"], "sparsity": 0.5}, {"method": "wanda", "sparsity": 0.7})
    plan, cells = load_plan(config), nowhere / "cells.csv"
    write_cells(plan, cells)
    assert len(current_cells(plan, cells)) == 3
    other = deepcopy(config)
    edit(other)
    changed_plan = load_plan(other)
    for read in (
        lambda: current_cells(changed_plan, cells),
        lambda: write_report(changed_plan, cells, nowhere / "index.html"),
        lambda: strict(changed_plan.job("strict").spec, cells=cells),
    ):
        with pytest.raises(Damaged, match=r"cells\.csv was made from other settings or code: delete it and run again"):
            read()
    assert not (nowhere / "index.html").exists()


def test_what_it_says_of_a_suite_of_speed(tmp_path: Path) -> None:
    plan = shown.plan(tmp_path)
    lines = [*protocol(plan, "tiny"), *cautions(plan, "tiny")]
    (suite,) = (line for line in lines if "(speed)" in line)
    assert suite == "Speed and size (speed)."
    assert "this says what pruning costs in quality" not in lines[-1] and "one machine" in lines[-1]
    assert all(line.endswith(".") and " ." not in line and "  " not in line for line in lines), lines
