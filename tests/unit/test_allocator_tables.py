"""The tables that set allocators side by side: layout, gains, and what stands out."""

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from laid_out import lay_out
from prunebench.plan.plan import Plan, load_plan
from prunebench.report.data import gather
from prunebench.results.detail import Records
from prunebench.stages.collect import COLUMNS
from prunebench.stages.report import render
from prunebench.tables.make import make_table
from prunebench.tables.means import Mean
from prunebench.tables.table import Table
from studies import changed, grid

allocators_table = partial(lay_out, "allocators")
gain_table = partial(lay_out, "gain")
perplexity_table = partial(lay_out, "perplexity")

LABELS = {
    "models/m": "Model M",
    "methods/wanda": "Wanda",
    "allocators/uniform": "Uniform",
    "allocators/owl": "OWL",
    "methods/dense": "Dense",
    "tasks/rte": "RTE",
}
CELL = {"study": "s", "model": "m", "pattern": "unstructured", "calibration": "c", "suite": "ppl", "task": "web"}
OK = {"metric": "perplexity", "status": "ok"}
NONE = {"value": None, "task": None, "metric": None, "reason": "it broke"}
ACC = {"suite": "seven", "metric": "acc", "task": "mean"}


def row(
    allocator: str, sparsity: str = "0.50", value: float = 20.0, seed: int = 0, **more: object
) -> dict[str, object]:
    named = {"method": "wanda", "allocator": allocator, "sparsity": sparsity, "value": value, "seed": seed}
    return {**CELL, **OK, **named, **more}


def dense(value: float, **more: object) -> dict[str, object]:
    return row("uniform", "0.00", value, method="dense", calibration="none", **more)


def seeds(allocator: str, *values: float, sparsity: str = "0.50", **more: object) -> list[dict[str, object]]:
    return [row(allocator, sparsity, value, seed, **more) for seed, value in enumerate(values)]


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=lambda made: made["method"] == "dense")


def emphasised(made: Table) -> dict[tuple[str, ...], list[str]]:
    """The bold entries of each row that has any."""
    found: dict[tuple[str, ...], list[str]] = {}
    for at, column in sorted(made.bold):
        stub = made.rows[at][: len(made.stub)]
        found.setdefault(stub, []).append(made.rows[at][len(made.stub) + column])
    return found


def test_allocators_has_a_group_of_rows_per_method_and_columns_per_sparsity_and_corpus() -> None:
    made = allocators_table(
        table(
            row("uniform", "0.70", 400.0),
            row("uniform", "0.50", 20.0),
            row("uniform", "0.50", 25.0, method="magnitude", calibration="none"),
            row("owl", "0.50", 18.0),
            row("owl", "0.50", 24.0, method="magnitude"),
            row("owl", "0.50", 19.0, task="wiki"),
            row("uniform", "0.50", 30.0, pattern="2of4"),
            dense(10.0),
            dense(11.0, task="wiki"),
            row("owl", "0.50", 99.0, study="another"),
        ),
        "s",
        LABELS,
    )
    assert made.columns == [(point, task) for point in ("50%", "70%") for task in ("web", "wiki")]
    assert made.rows == [
        ("Model M", "Dense", "", "", "10.00", "11.00", "10.00", "11.00"),
        ("Model M", "Wanda", "Uniform", "", "20.00", "", "400.00", ""),
        ("Model M", "Wanda", "OWL", "", "18.00", "19.00", "", ""),
        ("Model M", "magnitude", "Uniform", "", "25.00", "", "", ""),
        ("Model M", "magnitude", "OWL", "", "24.00", "", "", ""),
    ]
    assert made.bold == frozenset()
    assert made.notes == ["6 of 6 cells.", "One seed: the spread is not known, so nothing is bold."]


def test_entries_are_those_of_the_perplexity_table() -> None:
    cells = table(dense(10.0), *seeds("uniform", 20.0, 30.0, 25.0), *seeds("owl", 18.0, 21.0))
    entries = [line[4:-1] for line in perplexity_table(cells, "s").rows]
    assert [line[4:] for line in allocators_table(cells, "s").rows] == entries
    assert entries[1] == (f"{(m := 15000 ** (1 / 3)):.2f} ± {m * pd.Series([20, 30, 25]).map(math.log).std():.2f}",)


@pytest.mark.parametrize(
    ("owl", "dsa", "bold"),
    [
        ((50.0, 55.0), (30.0, 31.0), "dsa"),
        ((50.0, 55.0), (50.5, 50.6), None),  # within the spread of the second
        ((50.0, 50.1), (45.0, 53.0), None),  # within its own spread
        ((50.0, 55.0), (80.0, 81.0), "owl"),
        ((50.0, 55.0), (30.0,), None),  # of one seed nobody knows the spread
        ((50.0,), (30.0, 31.0), None),
    ],
)
def test_the_best_is_bold_if_it_leads_by_more_than_the_spread(
    owl: tuple[float, ...], dsa: tuple[float, ...], bold: str | None
) -> None:
    made = allocators_table(table(*seeds("uniform", 100.0, 200.0), *seeds("owl", *owl), *seeds("dsa", *dsa)), "s")
    assert [stub[2] for stub in emphasised(made)] == ([bold] if bold else [])


def test_each_column_and_each_method_has_a_best_of_its_own() -> None:
    cells = [
        *seeds("uniform", 100.0, 101.0),
        *seeds("owl", 50.0, 51.0),
        *seeds("uniform", 300.0, 301.0, sparsity="0.70"),
        *seeds("owl", 400.0, 401.0, sparsity="0.70"),
        *seeds("uniform", 500.0, 501.0, method="magnitude", calibration="none"),
        *seeds("owl", 600.0, 601.0, method="magnitude"),
        *seeds("uniform", 1.0, 1.1, method="random"),
    ]
    made = allocators_table(table(*cells), "s", LABELS)
    assert emphasised(made) == {
        ("Model M", "Wanda", "OWL", ""): ["50.50 ± 0.71"],
        ("Model M", "Wanda", "Uniform", ""): ["300.50 ± 0.71"],
        ("Model M", "magnitude", "Uniform", ""): ["500.50 ± 0.71"],
    }
    assert made.notes[1].endswith(
        "Bold: the best allocator of a method in its column, if its lead over every other is larger than the spread of "
        "either."
    )


def test_a_row_of_one_seed_makes_a_note_of_it() -> None:
    made = allocators_table(table(row("uniform", value=90.0), *seeds("owl", 50.0, 51.0)), "s", LABELS)
    assert made.bold == frozenset()
    assert "Where an entry is of one seed, nothing is known to lead it, nor does it lead." in made.notes[1]


def test_rows_that_do_not_compare_do_not_compete() -> None:
    cells = [
        *seeds("half", 15.0, 15.1),
        *seeds("owl_half", 14.0, 14.1),
        *seeds("uniform", 100.0, 101.0),
        *seeds("owl", 50.0, 51.0),
        *seeds("dsa", 30.0, 31.0, calibration="d"),
    ]
    made = allocators_table(table(*cells), "s", LABELS, half=["half", "owl_half"])
    assert [stub[2:] for stub in emphasised(made)] == [("OWL", "c"), ("owl_half", "c")]
    assert [line[2] for line in made.rows] == ["Uniform", "OWL", "dsa", "half", "owl_half"], "halves last"
    assert made.notes[1].endswith("Rows that prune half of the blocks are compared with each other only.")


@pytest.mark.parametrize(("status", "bold"), [("missing", []), ("failed", ["OWL"]), ("skipped", ["OWL"])])
def test_what_lost_is_no_rival_but_what_is_missing_may_be_one(status: str, bold: list[str]) -> None:
    bad = row("dsa", **{**NONE, "status": status})
    made = allocators_table(table(*seeds("uniform", 100.0, 101.0), *seeds("owl", 50.0, 51.0), bad), "s", LABELS)
    assert [stub[2] for stub in emphasised(made)] == bold
    assert made.rows[2][-1] == status
    assert made.notes[0] == f"4 of 5 cells (1 {status})."
    assert made.notes[-1] == f"{status}: Wanda + dsa, 50%, seed 0: it broke"


def test_bold_in_every_format() -> None:
    made = Table("T", ("A",), [("", "x"), ("", "y")], [("a", "1", "2_%"), ("b", "3 ± 1", "4")], ["n"])
    made = Table(made.title, made.stub, made.columns, made.rows, made.notes, frozenset({(0, 1), (1, 0)}))
    assert "| a   |         1 | **2_%** |" in made.render("md") and "**3 ± 1** |       4 |" in made.render("md")
    html = made.render("html")
    assert "<b>2_%</b>" in html and "<b>3 ± 1</b>" in html and html.count("<b>") == 2
    tex = made.render("tex")
    assert r"a & 1 & \textbf{2\_\%} \\" in tex and r"b & \textbf{3 $\pm$ 1} & 4 \\" in tex
    assert made.render("csv") == "A,x,y\na,1,2_%\nb,3 ± 1,4\n"


def test_gain_stands_below_each_allocator() -> None:
    made = gain_table(
        table(
            row("owl", "0.50", 25.0),
            row("uniform", "0.50", 20.0),
            row("dsa", "0.50", 15.0),
            row("uniform", "0.70", 400.0),
            row("dsa", "0.70", 100.0),
            row("uniform", "0.50", 30.0, pattern="2of4"),
            dense(10.0),
        ),
        "s",
        LABELS,
    )
    assert made.columns == [("50%", "web"), ("70%", "web")]
    assert [line[1:] for line in made.rows] == [
        ("Dense", "", "", "10.00", "10.00"),
        ("Wanda", "Uniform", "", "20.00", "400.00"),
        ("Wanda", "OWL", "", "25.00", ""),
        ("Wanda", "Gain of OWL", "", "-5.00 (-25.0%)", ""),
        ("Wanda", "dsa", "", "15.00", "100.00"),
        ("Wanda", "Gain of dsa", "", "+5.00 (+25.0%)", "+300.00 (+75.0%)"),
    ]
    assert made.notes[:2] == [
        "6 of 6 cells.",
        "Gain in perplexity (lower is better): how much lower than uniform sparsity, and in percent of that. "
        "Negative: uniform sparsity is better.",
    ]


def test_gain_in_accuracy_is_in_points_of_the_mean() -> None:
    scores = [
        row(allocator, value=value, suite="seven", metric=metric, task=task)
        for allocator, mean in (("uniform", 0.4), ("owl", 0.4321))
        for metric, task, value in (("acc", "rte", 0.9), ("acc_norm", "rte", 0.8), ("acc", "mean", mean))
    ]
    one = [row(allocator, value=value, suite="one", metric="acc", task="rte") for allocator, value in
           (("uniform", 0.5), ("owl", 0.45))]  # fmt: skip
    web = [row("uniform", "0.50", 20.0), row("owl", "0.50", 15.0), row("uniform", "0.70", 90.0)]
    made = gain_table(table(*web, *scores), "s", LABELS)
    assert made.columns == [("50%", "web"), ("50%", "mean acc."), ("70%", "web")], "nothing measured, no column"
    assert [line[2:] for line in made.rows] == [
        ("Uniform", "", "20.00", "40.00", "90.00"),
        ("OWL", "", "15.00", "43.21", ""),
        ("Gain of OWL", "", "+5.00 (+25.0%)", "+3.21", ""),
    ]
    assert "of that; in accuracy (percent, higher is better): the difference in points." in made.notes[1]
    made = gain_table(table(*scores, *one), "s", LABELS)
    assert made.columns == [("50%", "seven mean acc."), ("50%", "RTE acc.")]
    assert made.rows[-1][4:] == ("+3.21", "-5.00")


def test_a_gain_is_bold_if_it_is_more_than_the_spread() -> None:
    cells = [
        *seeds("uniform", 100.0, 110.0),
        *seeds("owl", 99.0, 109.0),
        *seeds("dsa", 50.0, 51.0),
        *seeds("er", 300.0, 301.0),
        *seeds("uniform", 0.40, 0.41, **ACC),
        *seeds("owl", 0.45, 0.46, **ACC),
        *seeds("dsa", 0.405, 0.415, **ACC),
        *seeds("er", 0.3, 0.3, **ACC),
    ]
    made = gain_table(table(*cells), "s")
    gained = 100 * math.sqrt(1.1) - 50 * math.sqrt(1.02)
    share = 1 - math.sqrt(50 * 51 / 11000)
    assert {stub[2]: of for stub, of in emphasised(made).items()} == {
        "Gain of owl": ["+5.00"],
        "Gain of dsa": [f"+{gained:.2f} (+{share:.1%})"],
    }
    assert made.rows[0][4:] == ("104.88 ± 7.07", "40.50 ± 0.71")
    assert made.notes[2].endswith("Bold: a gain that is larger than the spread of either.")


def test_gain_is_over_what_shares_out_evenly_on_the_same_blocks_and_text() -> None:
    cells = [
        row("half", value=12.0),
        row("owl_half", value=11.0),
        row("uniform", value=20.0),
        row("uniform", value=30.0, calibration="d"),
        row("owl", value=15.0, calibration="d"),
        row("uniform", value=90.0, method="magnitude", calibration="none"),
        row("owl", value=45.0, method="magnitude", calibration="d"),
        row("owl", value=60.0, method="sparsegpt"),
    ]
    made = gain_table(table(*cells), "s", half=["half", "owl_half"], even=["uniform", "half"])
    assert [line[1:] for line in made.rows if line[2].startswith("Gain")] == [
        ("wanda", "Gain of owl", "d", "+15.00 (+50.0%)"),
        ("wanda", "Gain of owl_half", "c", "+1.00 (+8.3%)"),
        ("magnitude", "Gain of owl", "d", "+45.00 (+50.0%)"),
    ]
    assert ("m", "sparsegpt", "owl", "c", "60.00") in made.rows, "nothing to compare with"


@pytest.mark.parametrize("status", ["failed", "missing"])
def test_there_is_no_gain_without_both_numbers(status: str) -> None:
    bad = row("uniform", **{**NONE, "status": status})
    made = gain_table(table(bad, row("owl", value=20.0)), "s", LABELS)
    assert [line[2:] for line in made.rows] == [
        ("Uniform", "", status),
        ("OWL", "", "20.00"),
        ("Gain of OWL", "", ""),
    ]


def test_means_compare_in_the_direction_of_their_metric() -> None:
    low, high = (Mean("perplexity", math.log(value), 0.1) for value in (10.0, 20.0))
    assert low.lead(high) == pytest.approx(math.log(2)) == pytest.approx(-high.lead(low))
    assert low.stands_out(high) and not high.stands_out(low)
    worse, better = (Mean("acc", value, 0.125) for value in (0.5, 0.75))
    assert better.lead(worse) == 0.25 and better.stands_out(worse) and not worse.stands_out(better)
    assert not better.stands_out(worse._replace(deviation=0.25)), "as far as the spread is not farther"


def tables_of(**study: object) -> Plan:
    rows = [{"method": "dense"}, {"method": "wanda", "allocator": ["uniform", "owl"], "sparsity": 0.5, "seed": [0, 1]}]
    half = {"allocator": "uniform", "layers": "first_half"}
    return load_plan(changed("allocators.half", half, grid(*rows, **study)))


def collected(plan: Plan) -> Iterator[dict[str, object]]:
    for cell in plan.studies["tiny"].cells:
        axes = ("model", "method", "allocator", "pattern", "sparsity", "calibration", "seed")
        value = 10.0 + cell.seed + (cell.method == "dense") * 5 + (cell.allocator == "uniform") * 10
        measured = {**OK, "suite": "ppl_tiny", "task": "text", "value": value}
        yield {"study": "tiny", **{axis: getattr(cell, axis) for axis in axes}, **measured}


def test_a_study_has_the_tables_it_asks_for_after_those_of_its_suites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables_of().shown.tables == [("tiny", "perplexity")]
    plan = tables_of(tables=["allocators", "gain"], suites=["few_tiny", "ppl_tiny"])
    assert plan.shown.tables == [("tiny", table) for table in ("zeroshot", "perplexity", "allocators", "gain")]
    assert plan.shown.suites_of("tiny", "allocators") == ["ppl_tiny"]
    assert plan.shown.suites_of("tiny", "gain") == ["few_tiny", "ppl_tiny"]
    assert [name for _, name in tables_of(tables="gain").shown.tables] == ["perplexity", "gain"]
    monkeypatch.chdir(tmp_path)
    for name, label in (("allocators", "OWL"), ("gain", "Gain of OWL")):
        made = make_table(plan, table(*collected(plan)), "tiny", name, Records(plan))
        assert [stub[2] for stub in emphasised(made)] == [label]


def test_the_report_shows_them_and_what_is_bold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = tables_of(tables=["allocators", "gain"])
    page = render(gather(plan, table(*collected(plan))))
    assert "Perplexity by allocator" in page and "Gains over uniform sparsity" in page
    assert re.findall(r'<td class="number"><b>(.*?)</b></td>', page) == [
        *["10.49 ± 0.71"] * 2,
        "+10.01 (+48.8%)",
    ]


@pytest.mark.parametrize("make", [allocators_table, gain_table])
@pytest.mark.parametrize(
    "rows",
    [[], [dense(10.0)], [row("uniform", pattern="2of4")], [row("owl", **{**NONE, "status": "missing"})]],
    ids=["nothing", "dense", "n of m", "missing"],
)
def test_with_nothing_to_compare_there_still_is_a_table(make: object, rows: list[dict[str, object]]) -> None:
    made = make(table(*rows), "s", LABELS)
    assert made.bold == frozenset()
    for format in ("md", "csv", "html", "tex"):
        assert made.render(format)
