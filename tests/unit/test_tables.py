import itertools
import math
from functools import partial
from typing import Any

import pandas as pd
import pytest

from laid_out import lay_out
from prunebench.cell import Cell
from prunebench.plan.plan import load_plan
from prunebench.results.detail import Records
from prunebench.stages.collect import COLUMNS
from prunebench.tables.layout import NAMED, SO_FAR
from prunebench.tables.make import partly_pruned, setting
from prunebench.tables.make import with_losses as attach_losses
from prunebench.tables.means import mean
from prunebench.tables.rounding import rounding_notes
from studies import changed, grid

perplexity_table = partial(lay_out, "perplexity")
allocators_table = partial(lay_out, "allocators")

CELL = {
    "study": "s",
    "model": "m",
    "allocator": "uniform",
    "pattern": "unstructured",
    "calibration": "c",
    "suite": "ppl",
}
OK = {"metric": "perplexity", "status": "ok"}
WEB = {"corpora/web": "Web text"}
LABELS = {"models/m": "Model M", "methods/wanda": "Wanda", "allocators/uniform": "Uniform", "methods/dense": "Dense"}


def row(method: str, sparsity: str, value: float | None = None, seed: int = 0, **more: object) -> dict[str, object]:
    return {**CELL, "method": method, "sparsity": sparsity, "seed": seed, "value": value, "task": "web", **OK, **more}


def table(*rows: dict[str, object]) -> "pd.DataFrame":
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=lambda made: made["method"] == "dense")


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
        LABELS | WEB,
    )
    points = ("50%", "70%", "2of4 (50%)")
    assert made.columns == [(point, head) for point in points for head in ("Web text", "vs dense")]
    assert made.rows == [
        ("Model M", "Dense", "", "", "10.00", "", "10.00", "", "10.00", ""),
        ("Model M", "Wanda", "Uniform", "", "20.00", "2.00x", "40.00", "4.00x", "30.00", "3.00x"),
    ]
    assert made.notes[0] == "4 of 4 cells." and made.notes[1].startswith("Vs dense: how many times higher")


def test_the_ratio_to_the_dense_model_is_a_mean_over_texts_that_all_have_numbers() -> None:
    """A geometric mean of 2 and 8 is 4. The bold entries stay where they are."""
    texts = [row("dense", "0.00", 10.0), row("dense", "0.00", 20.0, task="wiki")]
    both = [row("wanda", "0.50", 20.0), row("wanda", "0.50", 160.0, task="wiki"), row("wanda", "0.70", 30.0)]
    made = perplexity_table(table(*texts, *both), "s", LABELS)
    assert made.rows[1][4:] == ("20.00", "160.00", "4.00x", "30.00", "", "")
    assert made.notes[1].endswith("as a geometric mean over the texts.")
    bold = [measured(method, 20.0 + at) | {"sparsity": sparsity} for sparsity in ("0.50", "0.70")
            for at, method in enumerate(("wanda", "ria"))]  # fmt: skip
    made = perplexity_table(with_losses(row("dense", "0.00", 5.0) | {"losses": windows(5.0)}, *bold), "s", LABELS)
    assert made.bold == {(1, 0), (1, 2)} and {made.rows[at][4 + column] for at, column in made.bold} == {"20.00"}


def test_rows_of_a_model_stand_together_and_the_first_half_after_the_whole() -> None:
    """Rows stand in the order of the grid, allocator by allocator, and unstructured columns before n:m columns."""
    cells = [row("dense", "0.00", 10.0, model=model) for model in "mn"]
    for allocator, sparsities in (("uniform", ("0.50", "0.70")), ("half", ("0.50", "0.70", "0.80"))):
        for model, method, seed in itertools.product("mn", ("magnitude", "wanda"), (0, 1)):
            cells += [row(method, s, 20.0, seed, model=model, allocator=allocator) for s in sparsities]
    cells += [
        row("wanda", "0.75", 30.0, pattern="1of4", model=m, allocator=a) for m in "mn" for a in ("uniform", "half")
    ]
    made = perplexity_table(table(*cells), "s", LABELS | WEB | {"allocators/half": "First half"})
    assert [group for group, head in made.columns if head == "Web text"] == ["50%", "70%", "80%", "1of4 (75%)"]
    stub = [("Dense", ""), ("magnitude", "Uniform"), ("Wanda", "Uniform"), ("magnitude", "First half")]
    stub.append(("Wanda", "First half"))
    assert [line[:3] for line in made.rows] == [(model, *of) for model in ("Model M", "n") for of in stub]
    assert made.rows[2][4::2] == ("20.00 ± 0.00", "20.00 ± 0.00", "", "30.00")
    assert made.rows[4][4::2] == ("20.00 ± 0.00", "20.00 ± 0.00", "20.00 ± 0.00", "30.00")


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
    assert made.notes == [f"1 of 2 cells (1 {status}).", f"{status}: Wanda + Uniform, 70%, seed 0: it broke"]


def test_calibration_sets_are_never_averaged_together() -> None:
    made = perplexity_table(table(row("wanda", "0.50", 20.0), row("wanda", "0.50", 30.0, calibration="d")), "s")
    assert [line[3:] for line in made.rows] == [("c", "20.00"), ("d", "30.00")]


def test_protocols_are_never_mixed() -> None:
    made = perplexity_table(table(row("wanda", "0.50", 20.0), row("wanda", "0.50", 30.0, suite="long")), "s")
    assert made.columns == [("50%", "ppl web"), ("50%", "long web")] and made.rows[0][-2:] == ("20.00", "30.00")


def test_a_head_names_a_suite_only_where_two_suites_have_its_text() -> None:
    texts = (("ppl", "web", 20.0), ("ppl", "wiki", 25.0), ("mine", "notes", 30.0))
    cells = [row("wanda", "0.50", value, suite=suite, task=task) for suite, task, value in texts]
    for made in (perplexity_table(table(*cells), "s"), allocators_table(table(*cells), "s")):
        assert [head for _, head in made.columns] == ["web", "wiki", "notes"]
    cells.append(row("wanda", "0.50", 35.0, suite="mine", task="web"))
    for made in (perplexity_table(table(*cells), "s"), allocators_table(table(*cells), "s")):
        assert [head for _, head in made.columns] == ["ppl web", "wiki", "notes", "mine web"]


def test_a_note_names_the_texts_of_each_suite() -> None:
    rows = table(*(row("wanda", "0.50", 20.0, suite=suite, task=task, calibration="none")
                   for suite, task in (("ppl_tiny", "text"), ("mine", "notes"), ("mine", "own"))))  # fmt: skip
    assert setting(load_plan(grid({"method": "dense"})), rows) == ["Suites: ppl_tiny (Text); mine (notes, own)."]


def test_the_caption_has_the_title_of_the_study() -> None:
    made = perplexity_table(table(row("wanda", "0.50", 20.0)), "s", {"studies/s": "My paper", "suites/ppl": "long"})
    assert made.title == "Perplexity, lower is better: My paper (long)"
    assert perplexity_table(table(row("wanda", "0.50", 20.0)), "s").title == "Perplexity, lower is better: study s"
    plan = load_plan(grid({"method": "dense"}, title="My paper"))
    assert plan.shown.labels()["studies/tiny"] == "My paper"


def test_a_seed_that_failed_is_not_averaged_away() -> None:
    bad = row("wanda", "0.50", None, 1, task=None, metric=None, status="failed", reason="NaN")
    made = perplexity_table(table(row("wanda", "0.50", 20.0), bad), "s")
    assert made.rows[0][-1] == "failed"


def lacking(status: str, seed: int, method: str = "wanda", **more: object) -> dict[str, object]:
    return row(method, "0.50", None, seed, task=None, metric=None, status=status, reason="no result", **more)


@pytest.mark.parametrize(
    ("values", "others", "shown"),
    [
        ([20.0], ["missing"], "20.00 (1 of 2)"),
        ([20.0], ["missing", "missing"], "20.00 (1 of 3)"),
        ([20.0, 20.0], ["missing"], "20.00 ± 0.00 (2 of 3)"),
        ([20.0], ["missing", "failed"], "failed"),
        ([20.0], ["missing", "skipped"], "skipped"),
        ([20.0, 20.0], ["failed"], "failed"),
        ([], ["missing", "missing"], "missing"),
        ([20.0, 20.0], [], "20.00 ± 0.00"),
    ],
)
@pytest.mark.parametrize("kind", ["perplexity", "allocators", "gain", "scores"])
def test_seeds_that_have_not_run_are_counted_beside_the_mean(
    kind: str, values: list[float], others: list[str], shown: str
) -> None:
    cells = [row("wanda", "0.50", value, seed) for seed, value in enumerate(values)]
    cells += [lacking(status, len(values) + seed) for seed, status in enumerate(others)]
    made = lay_out(kind, table(*cells), "s", LABELS)
    assert made.rows[0][-1].removesuffix(" ") == shown
    assert (SO_FAR in made.notes) == (" of " in shown)


def test_the_mean_of_some_seeds_neither_leads_nor_is_led() -> None:
    def best(*cells: dict[str, object]) -> int:
        return len(perplexity_table(with_losses(*cells), "s").bold)

    def both(method: str, value: float) -> list[dict[str, object]]:
        return [row(method, "0.50", value, seed, losses=windows(value)) for seed in (0, 1)]

    led, leader = both("random", 50.0), both("wanda", 20.0)
    assert best(*led, *leader) == 1
    for method, cells in (("wanda", [*led, leader[0]]), ("random", [led[0], *leader])):
        assert best(*cells, lacking("missing", 1, method) | {"losses": None}) == 0


@pytest.mark.parametrize(
    ("differing", "note"),
    [
        ({"suite": "long"}, "missing: Wanda + Uniform, 50%, seed 0, suite long: no result"),
        ({"calibration": "d"}, "missing: Wanda + Uniform, 50%, d, seed 0: no result"),
        ({"model": "n"}, "missing: n, Wanda + Uniform, 50%, seed 0: no result"),
        ({"allocator": "owl"}, "missing: Wanda + owl, 50%, seed 0: no result"),
    ],
)
def test_a_note_tells_its_cell_from_others(differing: dict[str, object], note: str) -> None:
    made = perplexity_table(table(row("wanda", "0.50", 20.0), lacking("missing", 0, **differing)), "s", LABELS)
    assert made.notes[1:] == [note]
    both = perplexity_table(table(lacking("missing", 0), lacking("missing", 0, **differing)), "s", LABELS)
    assert len(both.notes) == 3 and both.notes[-1] == note


def test_many_cells_without_a_number_share_a_note() -> None:
    seeds = [lacking("missing", seed) for seed in range(NAMED + 3)]
    named = "; ".join(f"Wanda + Uniform, 50%, seed {seed}" for seed in range(NAMED))
    made = perplexity_table(table(*seeds), "s", LABELS)
    assert made.notes[1:] == [f"missing: {named} and 3 more: no result"]
    reasons = [cell | {"reason": f"delete file {number}"} for number, cell in enumerate(seeds)]
    made = perplexity_table(table(*reasons), "s", LABELS)
    assert len(made.notes) == 1 + NAMED + 1
    assert made.notes[-1] == "missing: 3 more, with their reasons in cells.csv"
    failed = [cell | {"status": "failed"} for cell in reasons]
    assert len(perplexity_table(table(*failed), "s", LABELS).notes) == 1 + len(failed), "each failure is a result"


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
        assert "1234.6" in text and "Wanda" in text, format
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
    assert made.columns == [("50%", "web"), ("50%", "long")] and made.rows[0][-2:] == ("20.00", "missing")


def windows(value: float, *shifts: float) -> list[float]:
    """Losses of windows that are hard for all models, with `shifts` that are special to one, and perplexity `value`."""
    found = [of + shift for of, shift in zip((1.0, 2.0, 4.0, 3.0, 5.0, 2.5), shifts or (0.0,) * 6, strict=True)]
    return [loss + math.log(value) - sum(found) / len(found) for loss in found]


def measured(method: str, value: float, *shifts: float, **more: object) -> dict[str, object]:
    return row(method, "0.50", value, **more) | {"losses": windows(value, *shifts)}


def with_losses(*rows: dict[str, object]) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=[*COLUMNS, "losses"]).astype({"losses": object})
    return made.assign(baseline=made["method"] == "dense")


def winners(cells: pd.DataFrame, **options: Any) -> list[str]:
    made = perplexity_table(cells, "s", LABELS, **options)
    return [made.rows[at][1] for at, _ in sorted(made.bold)]


UNEVEN = (0.3, -0.3, 0.2, -0.2, 0.3, -0.3)


def test_the_best_is_bold_if_the_windows_agree_on_it() -> None:
    dense = row("dense", "0.00", 5.0) | {"losses": windows(5.0)}
    rivals = [measured("ria", 21.0), measured("magnitude", 30.0)]
    assert winners(with_losses(dense, measured("wanda", 20.0), *rivals)) == ["Wanda"]
    assert winners(with_losses(dense, measured("wanda", 20.0, *UNEVEN), *rivals)) == [], "some windows say the opposite"
    made = perplexity_table(with_losses(dense, measured("wanda", 20.0), *rivals), "s", LABELS)
    assert made.notes == [
        "4 of 4 cells.",
        "Vs dense: how many times higher the perplexity is than that of the dense model.",
        "An entry of one seed says nothing about other seeds. Bold: the best in its column, if its lead over every "
        "other is sure over the windows of the text (in pairs, 95%).",
    ]


def test_one_rival_that_may_be_as_good_is_enough() -> None:
    cells = [measured("wanda", 20.0), measured("magnitude", 21.0), measured("ria", 22.0, *UNEVEN)]
    assert winners(with_losses(*cells)) == []


def test_several_seeds_must_agree_too() -> None:
    def seeds(method: str, *values: float) -> list[dict[str, object]]:
        return [measured(method, value, seed=seed) for seed, value in enumerate(values)]

    assert winners(with_losses(*seeds("wanda", 20.0, 20.1), *seeds("ria", 21.0, 21.1))) == ["Wanda"]
    assert winners(with_losses(*seeds("wanda", 18.0, 22.0), *seeds("ria", 21.0, 21.1))) == []
    assert winners(with_losses(*seeds("wanda", 20.0, 20.1), *seeds("ria", 18.9, 25.0))) == []
    # Magnitude looks at no text: other seeds would give the same.
    one = measured("magnitude", 30.0, calibration="none")
    assert winners(with_losses(*seeds("wanda", 20.0, 20.1), one)) == ["Wanda"]
    # With another draw of text a single number might be any.
    assert winners(with_losses(*seeds("wanda", 20.0, 20.1), *seeds("ria", 30.0))) == []
    assert winners(with_losses(*seeds("wanda", 20.0), *seeds("ria", 30.0, 30.1))) == []
    cells = with_losses(*seeds("wanda", 20.0, 20.1), *seeds("ria", 21.0, 21.1))
    assert perplexity_table(cells, "s", LABELS).notes[1] == (
        "±: standard deviation over seeds, of a perplexity that of its logarithm times it. Bold: the best in its "
        "column, if its lead over every other is sure over the windows of the text (in pairs, 95%) and larger "
        "than the spread of either."
    )


def test_losses_of_seeds_are_averaged_window_by_window() -> None:
    one, two = measured("wanda", 20.0, *UNEVEN), measured("wanda", 20.0, *(-shift for shift in UNEVEN), seed=1)
    assert mean(with_losses(one, two)).losses == pytest.approx(windows(20.0))
    assert mean(with_losses(one)).losses == pytest.approx(one["losses"])
    assert mean(with_losses(one, two | {"losses": None})).losses is None
    assert mean(with_losses(one, two | {"losses": [3.0, 3.0]})).losses is None
    assert mean(table(row("wanda", "0.50", 20.0))).losses is None


def test_another_text_is_no_pair() -> None:
    short = row("ria", "0.50", 90.0) | {"losses": windows(90.0)[:5]}
    assert winners(with_losses(measured("wanda", 20.0), short)) == []


def test_halves_other_calibrations_and_missing_cells_as_for_allocators() -> None:
    half = measured("ria", 10.0, allocator="half")
    cells = [measured("wanda", 20.0), measured("ria", 21.0), half]
    assert winners(with_losses(*cells)) == ["ria"]
    assert winners(with_losses(*cells), half=["half"]) == ["Wanda"], "nothing to compare the half with"
    other = measured("ria", 10.0, calibration="d")
    assert winners(with_losses(measured("wanda", 20.0), other)) == []
    none = {"value": None, "task": None, "metric": None, "losses": None, "reason": "it broke"}
    missing = measured("random", 50.0) | none
    assert winners(with_losses(*cells[:2], missing | {"status": "missing"})) == []
    assert winners(with_losses(*cells[:2], missing | {"status": "failed"})) == ["Wanda"]


def test_models_do_not_compete() -> None:
    cells = [measured(method, value, model=model) for model, best in (("m", 20.0), ("n", 10.0)) for method, value in
             (("wanda", best), ("ria", best + 5))]  # fmt: skip
    made = perplexity_table(with_losses(*cells), "s", LABELS)
    assert made.bold == {(0, 0), (2, 0)}


class Evaluations(Records):
    """Evaluations that nobody has to run."""

    def __init__(self, losses: list[float] | None) -> None:
        self.losses = losses

    def evaluation(self, cell: Cell, suite: str) -> dict[str, Any]:
        assert (cell.method, cell.sparsity, cell.seed, suite) == ("wanda", "0.50", 0, "ppl")
        if self.losses is None:
            return {"status": "missing", "reason": "not run"}
        scores = [{"task": task, "details": {"window_losses": self.losses}} for task in ("other", "web")]
        scores[0]["details"] = {"window_losses": [1.0]}
        return {"status": "ok", "scores": scores}


def test_losses_come_from_the_evaluation_that_gave_the_number() -> None:
    cells = table(row("wanda", "0.50", math.exp(2.5)), row("wanda", "0.50", 0.5, metric="acc"))
    cells = pd.concat([cells, table(row("wanda", "0.50", None, status="failed"))], ignore_index=True)
    assert list(attach_losses(cells, Evaluations([2.0, 3.0]))["losses"]) == [[2.0, 3.0], None, None]
    assert list(attach_losses(cells, Evaluations([2.0, 3.1]))["losses"]) == [None, None, None], "of another run"
    assert list(attach_losses(cells, Evaluations(None))["losses"]) == [None, None, None]
