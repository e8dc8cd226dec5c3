import itertools
import math

import pandas as pd
import pytest

from prunebench.plan import load_plan
from prunebench.stages.collect import COLUMNS
from prunebench.stages.tables import partly_pruned
from prunebench.tables.perplexity import perplexity_table
from prunebench.tables.rounding import rounding_notes
from studies import changed, grid

CELL = {
    "study": "s",
    "model": "m",
    "allocator": "uniform",
    "pattern": "unstructured",
    "calibration": "c",
    "suite": "ppl",
}
OK = {"metric": "perplexity", "status": "ok"}
LABELS = {"m": "Model M", "wanda": "Wanda", "uniform": "Uniform", "dense": "Dense"}


def row(method: str, sparsity: str, value: float | None = None, seed: int = 0, **more: object) -> dict[str, object]:
    return {**CELL, "method": method, "sparsity": sparsity, "seed": seed, "value": value, "task": "web", **OK, **more}


def table(*rows: dict[str, object]) -> "pd.DataFrame":
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_layout_groups_by_sparsity_and_repeats_the_dense_row() -> None:
    made = perplexity_table(
        table(
            row("dense", "0.00", 10.0),
            row("wanda", "0.70", 40.0),
            row("wanda", "0.50", 20.0),
            row("wanda", "0.50", 30.0, pattern="2of4"),
            row("wanda", "0.50", 99.0, study="another"),
        ),
        "s",
        LABELS,
    )
    assert made.columns == [("50%", "web"), ("70%", "web"), ("2of4 (50%)", "web")]
    assert made.rows == [
        ("Model M", "Dense", "", "", "10.00", "10.00", "10.00"),
        ("Model M", "Wanda", "Uniform", "", "20.00", "40.00", "30.00"),
    ]
    assert made.notes == ["4 of 4 cells."]


def test_rows_of_a_model_stand_together_and_the_first_half_after_the_whole() -> None:
    """Laid out as the grid says it: allocator by allocator, columns unstructured before n:m."""
    cells = [row("dense", "0.00", 10.0, model=model) for model in "mn"]
    for allocator, sparsities in (("uniform", ("0.50", "0.70")), ("half", ("0.50", "0.70", "0.80"))):
        for model, method, seed in itertools.product("mn", ("magnitude", "wanda"), (0, 1)):
            cells += [row(method, s, 20.0, seed, model=model, allocator=allocator) for s in sparsities]
    cells += [
        row("wanda", "0.75", 30.0, pattern="1of4", model=m, allocator=a) for m in "mn" for a in ("uniform", "half")
    ]
    made = perplexity_table(table(*cells), "s", LABELS | {"half": "First half"})
    assert [group for group, _ in made.columns] == ["50%", "70%", "80%", "1of4 (75%)"]
    stub = [("Dense", ""), ("magnitude", "Uniform"), ("Wanda", "Uniform"), ("magnitude", "First half")]
    stub.append(("Wanda", "First half"))
    assert [line[:3] for line in made.rows] == [(model, *of) for model in ("Model M", "n") for of in stub]
    assert made.rows[2][4:] == ("20.00 ± 0.00", "20.00 ± 0.00", "", "30.00")
    assert made.rows[4][4:] == ("20.00 ± 0.00", "20.00 ± 0.00", "20.00 ± 0.00", "30.00")


def test_a_note_says_which_rows_prune_the_first_half_only() -> None:
    half = {"allocator": "owl", "layers": "first_half", "title": "OWL below"}
    row_of = {"method": "magnitude", "sparsity": 0.5}
    for allocators, noted in ((["half"], True), (["owl"], False), (["uniform", "half"], True)):
        config = grid({"method": "dense"}, {**row_of, "allocator": allocators})
        plan = load_plan(changed("allocators.half", half, config))
        notes = [note for note in partly_pruned(plan, "tiny") if note.startswith("OWL below: of L blocks only")]
        assert len(notes) == noted and partly_pruned(plan, "tiny") == notes


def test_seeds_are_averaged_in_log_perplexity_with_their_spread() -> None:
    made = perplexity_table(table(*(row("wanda", "0.50", value, seed) for seed, value in enumerate([20, 40, 80]))), "s")
    spread = 40 * math.log(2)
    assert made.rows[0][-1] == f"40.00 ± {spread:.2f}"


@pytest.mark.parametrize("status", ["failed", "skipped", "missing"])
def test_cells_without_a_number_say_why(status: str) -> None:
    bad = row("wanda", "0.70", None, task=None, metric=None, status=status, reason="it broke")
    made = perplexity_table(table(row("wanda", "0.50", 20.0), bad), "s", LABELS)
    assert made.rows == [("Model M", "Wanda", "Uniform", "", "20.00", status)]
    assert made.notes == [f"1 of 2 cells (1 {status}).", f"{status}: Wanda, uniform, 70%, seed 0: it broke"]


def test_calibration_sets_are_never_averaged_together() -> None:
    made = perplexity_table(table(row("wanda", "0.50", 20.0), row("wanda", "0.50", 30.0, calibration="d")), "s")
    assert [line[3:] for line in made.rows] == [("c", "20.00"), ("d", "30.00")]


def test_protocols_are_never_mixed() -> None:
    made = perplexity_table(table(row("wanda", "0.50", 20.0), row("wanda", "0.50", 30.0, suite="long")), "s")
    assert made.columns == [("50%", "ppl web"), ("50%", "long web")] and made.rows[0][-2:] == ("20.00", "30.00")


def test_a_seed_that_failed_is_not_averaged_away() -> None:
    bad = row("wanda", "0.50", None, 1, task=None, metric=None, status="failed", reason="NaN")
    made = perplexity_table(table(row("wanda", "0.50", 20.0), bad), "s")
    assert made.rows[0][-1] == "failed"


def test_a_study_without_any_number_still_makes_a_table() -> None:
    bad = row("wanda", "0.50", None, task=None, metric=None, status="missing", reason="not run")
    made = perplexity_table(table(bad), "s", LABELS)
    assert made.rows[0][-1] == "missing"
    for format in ("md", "html", "tex"):
        assert "not run" in made.render(format)


def test_every_format_holds_the_numbers() -> None:
    made = perplexity_table(table(row("dense", "0.00", 10.0), row("wanda", "0.50", 1234.567)), "s", LABELS)
    for format in ("md", "csv", "html", "tex"):
        text = made.render(format)
        assert "1234.57" in text and "Wanda" in text, format
    assert r"\toprule" in made.render("tex") and r"50\%" in made.render("tex")
    assert made.render("md").count("|--") >= 1


def test_an_external_checkpoint_stands_at_the_sparsity_it_has() -> None:
    made = perplexity_table(
        table(
            row("wanda", "0.50", 20.0),
            row("theirs", "0.00", 30.0, achieved_sparsity=0.4987, calibration="none"),
            row("fewer", "0.00", 15.0, achieved_sparsity=0.3111, calibration="none"),
        ),
        "s",
    )
    assert [group for group, _ in made.columns] == ["31%", "50%"]
    assert [entries[-2:] for entries in made.rows] == [("", "20.00"), ("", "30.00"), ("15.00", "")]


def test_rounding_spread_compares_only_what_differs_in_nothing_else() -> None:
    cells = table(
        row("wanda", "0.50", 20.0),
        row("wanda_batch4", "0.50", 22.0),
        row("wanda_fp32", "0.50", 23.0),
        row("wanda", "0.70", 100.0),
        row("wanda_batch4", "0.70", 100.0),
        row("wanda_again", "0.70", 100.0),
        row("wanda_fp32", "0.80", 300.0),
        row("magnitude", "0.50", 90.0),
    )
    computations = {
        "wanda": ("wanda", "bfloat16", "batch 8"),
        "wanda_again": ("wanda", "bfloat16", "batch 8"),
        "wanda_batch4": ("wanda", "bfloat16", "batch 4"),
        "wanda_fp32": ("wanda", "float32", "float32 batch 8"),
    }
    spread = math.log(22 / 20) / math.sqrt(2)
    between = math.log(23 / math.sqrt(20 * 22))
    assert rounding_notes(cells, computations, LABELS) == [
        f"Rounding spread of Wanda in bfloat16 (2 settings of batch size and threads): 50% {spread:.2%}, 70% 0.00%.",
        f"Wanda in float32 instead of bfloat16: 50% {between:.2%}.",
    ]


def test_a_suite_without_any_number_keeps_its_column() -> None:
    bad = row("wanda", "0.50", None, suite="long", task=None, metric=None, status="missing", reason="not run")
    made = perplexity_table(table(row("wanda", "0.50", 20.0), bad), "s", LABELS)
    assert made.columns == [("50%", "ppl web"), ("50%", "long")] and made.rows[0][-2:] == ("20.00", "missing")
