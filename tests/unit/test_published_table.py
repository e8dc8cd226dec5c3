"""Published values beside ours, by hand-made results: rows, differences, verdicts, marks."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from laid_out import lay_out
from prunebench.cell import Cell
from prunebench.plan.plan import load_plan
from prunebench.published.match import Match
from prunebench.published.values import VALUES, Published, load_values
from prunebench.report.data import gather
from prunebench.stages.collect import COLUMNS
from prunebench.stages.report import render
from prunebench.storage.files import sha256_file
from prunebench.tables.layout import SO_FAR
from prunebench.tables.means import Mean
from prunebench.tables.published import difference, verdict
from studies import STUDY, changed, grid

published_table = partial(lay_out, "published")

LABELS = {
    "models/m": "Model M",
    "methods/wanda": "Wanda",
    "allocators/uniform": "Uniform",
    "methods/dense": "Dense",
    "tasks/rte": "RTE",
}
CELL = {"study": "s", "model": "m", "allocator": "uniform", "pattern": "unstructured", "calibration": "c"}
OK = {"suite": "ppl", "task": "wikitext2", "metric": "perplexity", "status": "ok"}


def row(method: str, sparsity: str, value: float | None, seed: int = 0, **more: object) -> dict[str, object]:
    return {**CELL, **OK, "method": method, "sparsity": sparsity, "value": value, "seed": seed, **more}


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=lambda made: made["method"] == "dense")


def published(value: float, **changes: Any) -> Published:
    return load_values()[0].model_copy(update={"value": value, "source": "P", "table": "Table 1", **changes})


def match(value: float, *differences: str, task: str = "wikitext2", **changes: Any) -> Match:
    metric = "perplexity" if task == "wikitext2" else "acc"
    return Match(task, metric, published(value, **changes), differences)  # type: ignore[arg-type]


def finder(**found: list[Match]) -> Any:
    """A function that finds published values. The keys of `found` are like wanda_50, for Wanda at 50% sparsity."""

    def find(cell: Cell, suite: str) -> list[Match]:
        listed = found.get(f"{cell.method}_{float(cell.sparsity) * 100:.0f}", [])
        return [match for match in listed if (match.metric == "perplexity") == (suite == "ppl")]

    return find


def test_a_row_for_each_published_value_and_none_where_there_is_none() -> None:
    cells = table(
        row("dense", "0.00", 5.68, calibration="none"),
        row("wanda", "0.50", 7.0),
        row("wanda", "0.50", 8.0, seed=1),
        row("wanda", "0.70", 100.0),
        row("ria", "0.70", 60.0),
        row("wanda", "0.70", 1.0, study="another"),
    )
    half = "the first half of the blocks pruned, here all blocks"
    find = finder(
        dense_0=[match(5.68), match(5.12, "windows of 4096 tokens, here of 2048")],
        wanda_50=[match(7.26, source="Q", grade="secondary")],
        wanda_70=[match(85.77), match(60.0, half, "in doubt"), match(50.0, half, "in doubt")],
    )
    made = published_table(cells, "s", LABELS, find=find)
    assert made.stub[-2:] == ("Sparsity", "Measured") and [name for _, name in made.columns] == [
        "Ours", "Published", "Difference", "Verdict", "Source",
    ]  # fmt: skip
    here = "P, Table 1"
    first = ("Model M", "Dense", "", "", "0%", "wikitext2")
    last = ("Model M", "Wanda", "Uniform", "", "70%", "wikitext2", "100.00")
    mean = math.sqrt(56)
    spread = mean * math.log(8 / 7) / math.sqrt(2)
    assert made.rows == [
        (*first, "5.68", "5.68", "+0.0%", "within", here),
        (*first, "5.68", "5.12 [1]", "+10.9%", "", here),
        ("Model M", "Wanda", "Uniform", "", "50%", "wikitext2", f"{mean:.2f} ± {spread:.2f}", "7.26",
         f"{mean / 7.26 - 1:+.1%}", "within", "Q, Table 1 (secondary)"),
        (*last, "85.77", "+16.6%", "outside", here),
        (*last, "60.00 [2]", "+66.7%", "", here),
        (*last, "50.00 [2]", "+100.0%", "", here),
    ]  # fmt: skip
    assert made.notes == [
        "5 of 5 cells.",
        "Verdict: within 5% of a perplexity, or within the standard deviation over our seeds where that is more. "
        "Values with a mark were measured in another way, or are in doubt: no verdict.",
        "[1]: windows of 4096 tokens, here of 2048.",
        f"[2]: {half}; in doubt.",
    ]
    for format in ("md", "html", "tex", "csv"):
        assert "within" in made.render(format)


def test_accuracies_are_in_points() -> None:
    acc = {"suite": "seven", "metric": "acc", "stderr": 0.02}
    cells = table(
        row("wanda", "0.50", 0.75, task="rte", **acc),
        row("wanda", "0.50", 0.9, task="rte", **{**acc, "metric": "acc_norm"}),
        row("wanda", "0.50", 0.5, task="mean", **acc),
    )
    find = finder(
        wanda_50=[
            match(0.7667, task="rte", metric="acc"),
            match(0.5101, task="mean", metric="acc"),
            match(0.6, "no", task="mean", metric="acc_unstated"),
        ]
    )
    made = published_table(cells, "s", LABELS, find=find)
    assert [line[-6:-1] for line in made.rows] == [
        ("RTE acc.", "75.00", "76.67", "-1.67", "within"),
        ("mean acc.", "50.00", "51.01", "-1.01", "outside"),
        ("mean acc.", "50.00", "60.00 [1]", "-10.00", ""),
    ]
    assert "within 1 point of a mean accuracy or 2 of that of a task, or" in made.notes[1]


@pytest.mark.parametrize("status", ["failed", "skipped", "missing"])
def test_what_has_no_number_has_no_verdict(status: str) -> None:
    bad = row("wanda", "0.70", None, task=None, metric=None, status=status, reason="it broke")
    made = published_table(table(bad), "s", LABELS, find=finder(wanda_70=[match(85.77)]))
    assert made.rows[0][-5:-1] == (status, "85.77", "", "")
    assert made.notes[:2] == [
        f"0 of 1 cells (1 {status}).",
        "No verdict: none of these values was measured as here.",
    ]
    one = published_table(table(bad, row("wanda", "0.70", 85.0, seed=1)), "s", find=finder(wanda_70=[match(85.77)]))
    if status == "missing":
        assert one.rows[0][-5:-1] == ("85.00 (1 of 2)", "85.77", "-0.9%", ""), "no verdict before all seeds are there"
        assert one.notes[1] == SO_FAR
    else:
        assert one.rows[0][-5:-1] == (status, "85.77", "", ""), "a seed that failed is not averaged away"


@pytest.mark.parametrize(
    ("ours", "published", "word"),
    [
        (10.5, 10.0, "within"),
        (10.51, 10.0, "outside"),
        (10.0, 10.5, "within"),
        (10.0, 10.51, "outside"),
        (10.0, 1e4, "outside"),
    ],
)
def test_perplexities_are_within_five_percent_of_each_other_or_not(ours: float, published: float, word: str) -> None:
    mean = Mean("perplexity", math.log(ours), None)
    assert verdict(mean, match(published)) == word
    assert verdict(mean._replace(deviation=0.001), match(published)) == word, "a small spread makes it no stricter"
    assert verdict(mean._replace(deviation=abs(math.log(ours / published))), match(published)) == "within"


@pytest.mark.parametrize(
    ("task", "ours", "word"),
    [("mean", 0.51, "within"), ("mean", 0.4899, "outside"), ("rte", 0.48, "within"), ("rte", 0.5201, "outside")],
)
def test_accuracies_are_within_points(task: str, ours: float, word: str) -> None:
    mean = Mean("acc", ours, None, stderr=0.3)
    assert verdict(mean, match(0.5, task=task)) == word
    assert difference(mean, 0.5) == f"{100 * ours - 50:+.2f}"


def test_a_study_of_what_is_published_has_the_table_and_others_have_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ("tiny", "published") not in load_plan(grid({"method": "dense"})).shown.tables
    monkeypatch.chdir(tmp_path)
    config = changed("models.llama_7b", STUDY["models"]["tiny"], grid({"method": ["dense"], "model": "llama_7b"}))
    config = changed("corpora.wikitext2", {**STUDY["corpora"]["text"], "title": "WikiText-2"}, config)
    config = changed("suites.ppl_tiny.params", {"corpora": ["wikitext2"], "bos": True}, config)
    plan = load_plan(config)
    assert plan.shown.tables == [("tiny", "perplexity"), ("tiny", "published")]
    assert plan.shown.suites_of("tiny", "published") == ["ppl_tiny"]
    assert all(
        sha256_file(VALUES) in plan.job(rule, study="tiny", table="published").spec for rule in ("tables", "report")
    ), "new values, new tables"
    (cell,) = plan.studies["tiny"].cells
    axes = ("model", "method", "allocator", "pattern", "sparsity", "calibration", "seed")
    measured = {
        "study": "tiny",
        **{axis: getattr(cell, axis) for axis in axes},
        **OK,
        "suite": "ppl_tiny",
        "value": 5.8,
    }
    page = render(gather(plan, table(measured)))
    assert "Published values beside ours" in page
    assert page.count('<td class="number good">within</td>') == 3 and page.count('<td class="number"></td>') == 4
    assert "[1]: windows of a length not stated; implausible: above the 5.68" in page
    assert plan.job("tables", study="tiny", table="published").outputs[0].name == "published.md"

    some = load_plan({**config, "studies": {"tiny": {**config["studies"]["tiny"], "published": ["OWL", "BESA"]}}})
    assert [match.value.source for match in some.shown.published("tiny", cell, "ppl_tiny")] == ["OWL", "BESA"]
    none = load_plan({**config, "studies": {"tiny": {**config["studies"]["tiny"], "published": "ELSA"}}})
    assert none.shown.tables == [("tiny", "perplexity")]


def test_one_suite_does_not_show_the_values_of_another() -> None:
    long = row("dense", "0.00", 5.1, suite="long", calibration="none")
    cells = table(row("dense", "0.00", 5.5, calibration="none"), long)
    short, other = match(5.68), replace(match(5.12), value=published(5.12, seqlen=4096))
    made = published_table(cells, "s", LABELS, find=lambda _, suite: [short if suite == "ppl" else other])
    assert [line[-5:-2] for line in made.rows] == [("5.50", "5.68", "-3.2%"), ("5.10", "5.12", "-0.4%")]
    assert [line[5] for line in made.rows] == ["ppl wikitext2", "long wikitext2"]
