from functools import partial

import pandas as pd
import pytest

from laid_out import lay_out
from prunebench.formulas.wilson import wilson
from prunebench.stages.collect import COLUMNS
from prunebench.tables.means import with_errors

zeroshot_table = partial(lay_out, "zeroshot")

CELL = {"study": "s", "model": "m", "allocator": "uniform", "pattern": "unstructured", "calibration": "c"}
SCORE = {"suite": "seven", "metric": "acc", "stderr": 0.02, "n": 50, "status": "ok"}
TITLES = {
    "models/m": "Model M",
    "methods/wanda": "Wanda",
    "methods/dense": "Dense",
    "tasks/boolq": "BoolQ",
    "suites/seven": "50 rows",
}


def row(method: str, sparsity: str, value: float | None, seed: int = 0, **more: object) -> dict[str, object]:
    return {**CELL, **SCORE, "method": method, "sparsity": sparsity, "value": value, "seed": seed, **more}


def table(*rows: dict[str, object]) -> "pd.DataFrame":
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=lambda made: made["method"] == "dense")


def scores(method: str, sparsity: str, mean: float = 0.5, seed: int = 0, **more: object) -> list[dict[str, object]]:
    """The rows of two tasks and their mean, as the suite gives them."""
    values = {"boolq": mean + 0.1, "rte": mean - 0.1, "mean": mean}
    shown = [row(method, sparsity, value, seed, task=task, **more) for task, value in values.items()]
    normalised = row(method, sparsity, 0.9, seed, task="boolq", **{**more, "metric": "acc_norm"})
    return [shown[0], normalised, *shown[1:]]


def test_layout_has_a_row_per_sparsity_and_a_column_per_task() -> None:
    made = zeroshot_table(
        table(
            *scores("wanda", "0.70", 0.3),
            *scores("wanda", "0.50", 0.35, pattern="2of4"),
            *scores("wanda", "0.50", 0.4),
            *scores("dense", "0.00", 0.5),
            *scores("wanda", "0.50", 0.9, study="another"),
        ),
        "s",
        TITLES,
    )
    assert made.stub == ("Model", "Method", "Allocator", "Calibration", "Sparsity")
    assert made.columns == [("", "BoolQ"), ("", "rte"), ("", "Mean"), ("", "vs dense")]
    assert [line[4:] for line in made.rows] == [
        ("0%", "60.00", "40.00", "50.00 ± 2.00", ""),
        ("50%", "50.00", "30.00", "40.00 ± 2.00", "-10.00"),
        ("70%", "40.00", "20.00", "30.00 ± 2.00", "-20.00"),
        ("2of4 (50%)", "45.00", "25.00", "35.00 ± 2.00", "-15.00"),
    ]
    assert made.rows[0][:4] == ("Model M", "Dense", "", "")
    assert "(50 rows)" in made.title
    assert made.notes == [
        "4 of 4 cells.",
        "Mean: plain mean over the tasks ± standard error of the sample of rows.",
        "Rows, and ± their largest standard error: BoolQ 50 (± 2.00), rte 50 (± 2.00).",
        "Vs dense: the points of the mean above the dense model.",
    ]


def test_seeds_are_averaged_with_their_spread() -> None:
    runs = [line for seed, mean in enumerate([0.3, 0.4, 0.5]) for line in scores("wanda", "0.50", mean, seed)]
    made = zeroshot_table(table(*runs), "s")
    assert made.rows[0][5:] == ("50.00", "30.00", "40.00 ± 10.00")
    assert made.notes[1] == "Mean: plain mean over the tasks ± standard deviation over seeds."
    # The dense model has one seed only, so what its ± means is another thing.
    made = zeroshot_table(table(*scores("dense", "0.00"), *runs), "s")
    assert [line[-2:] for line in made.rows] == [("50.00 ± 2.00", ""), ("40.00 ± 10.00", "-10.00")]
    assert made.notes[1].endswith(
        "standard error of the sample of rows, or with several seeds their standard deviation."
    )


@pytest.mark.parametrize("status", ["failed", "skipped", "missing"])
def test_cells_without_a_number_say_why(status: str) -> None:
    none = {"task": None, "metric": None, "stderr": None, "n": None, "status": status, "reason": "it broke"}
    bad = row("wanda", "0.70", None, **none)
    made = zeroshot_table(table(*scores("wanda", "0.50"), bad), "s", TITLES)
    assert made.rows[1][4:] == ("70%", status, status, status)
    assert made.notes[0] == f"1 of 2 cells (1 {status})."
    assert made.notes[-1] == f"{status}: Wanda + uniform, 70%, seed 0: it broke"
    alone = zeroshot_table(table(bad), "s", TITLES)
    assert alone.rows[0][4:] == ("70%", status)
    for format in ("md", "html", "tex", "csv"):
        assert status in alone.render(format)


def test_suites_stand_side_by_side() -> None:
    piqa = row("wanda", "0.50", 0.6, suite="piqa", task="piqa")
    made = zeroshot_table(table(*scores("wanda", "0.50"), piqa), "s", TITLES)
    assert made.columns == [("", "BoolQ"), ("", "rte"), ("", "Mean"), ("", "piqa")]
    assert made.rows[0][5:] == ("60.00", "40.00", "50.00 ± 2.00", "60.00")
    assert "50 rows" not in made.title


def test_the_same_task_in_two_suites_stands_under_their_names() -> None:
    made = zeroshot_table(table(*scores("wanda", "0.50"), *scores("wanda", "0.50", 0.3, suite="more")), "s")
    assert made.columns == [(suite, task) for suite in ("seven", "more") for task in ("boolq", "rte", "Mean")]
    assert made.rows[0][5:] == ("60.00", "40.00", "50.00 ± 2.00", "40.00", "20.00", "30.00 ± 2.00")


def test_the_best_is_bold_if_it_leads_by_more_than_the_standard_errors_of_both() -> None:
    """1.96 times the root of 0.02^2 twice is 5.54 points."""
    rivals = [*scores("wanda", "0.50", 0.5), *scores("ria", "0.50", 0.4)]
    made = zeroshot_table(table(*scores("dense", "0.00", 0.7), *rivals), "s", TITLES)
    assert made.bold == {(1, 0), (1, 1), (1, 2)}
    assert made.notes[-1] == (
        "An entry of one seed says nothing about other seeds. Bold: the best at its sparsity, if its lead over every "
        "other is more than 1.96 standard errors."
    )
    assert zeroshot_table(table(*scores("wanda", "0.50", 0.456), *rivals[4:]), "s").bold == {(0, 0), (0, 1), (0, 2)}
    assert zeroshot_table(table(*scores("wanda", "0.50", 0.455), *rivals[4:]), "s").bold == frozenset()
    assert zeroshot_table(table(*rivals[:4], *scores("ria", "0.70", 0.1)), "s").bold == frozenset(), "another sparsity"


def test_several_seeds_must_agree_on_the_best_too() -> None:
    def seeds(method: str, *means: float) -> list[dict[str, object]]:
        return [line for seed, mean in enumerate(means) for line in scores(method, "0.50", mean, seed)]

    far = zeroshot_table(table(*seeds("wanda", 0.5, 0.51), *seeds("ria", 0.4, 0.41)), "s")
    assert far.bold == {(0, 0), (0, 1), (0, 2)}
    assert far.notes[3].endswith("is more than 1.96 standard errors and larger than the spread of either.")
    near = zeroshot_table(table(*seeds("wanda", 0.4, 0.61), *seeds("ria", 0.4, 0.41)), "s")
    assert near.bold == frozenset()


def test_accuracies_on_one_row_have_no_error() -> None:
    made = zeroshot_table(table(*scores("wanda", "0.50", stderr=None, n=1)), "s", TITLES)
    text = made.render("md")
    assert "nan" not in text and "BoolQ 1" in text


def test_an_accuracy_of_0_or_100_has_an_interval_and_counts_as_unsure() -> None:
    values = {"boolq": 1.0, "rte": 0.5}
    rows = [
        row("wanda", "0.50", value, task=task, stderr=0.0 if value == 1 else 0.07) for task, value in values.items()
    ]
    rows.append(row("wanda", "0.50", 0.75, task="mean", stderr=0.035))
    rows += [row("dense", "0.00", 0.95, task=task, stderr=0.03) for task in ("boolq", "rte", "mean")]
    made = with_errors(table(*rows))
    errors = made.set_index(["method", "task"])["stderr"]
    reach = (1 - wilson(1.0, 50)[0]) / 1.96
    assert errors["wanda", "boolq"] == pytest.approx(reach, rel=1e-4) and errors["wanda", "rte"] == 0.07
    assert errors["wanda", "mean"] == 0.035
    assert list(errors["dense"]) == [0.03] * 3
    shown = zeroshot_table(made, "s", TITLES)
    assert shown.rows[1][-4:-1] == (
        "100.00 (92.9 to 100.0)",
        "50.00",
        "75.00 ± 3.50",
    )
    assert any(note.startswith("In brackets behind 0 and 100") for note in shown.notes)
    assert not any("In brackets" in note for note in zeroshot_table(table(*rows[3:]), "s", TITLES).notes)
