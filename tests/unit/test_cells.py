"""From a grid to cells: one name for equal work, in the order that the user wrote."""

import re
from typing import Any

import pytest

from prunebench.allocators.uniform import Uniform
from prunebench.cell import Cell
from prunebench.plan import paths
from prunebench.plan.grid import allocation_form
from prunebench.plan.plan import Plan, load_plan
from studies import changed, grid

CELL_PATHS = (paths.WEIGHTS, paths.PRUNED, paths.PRUNE_MEASURED, paths.EVALUATION, paths.EVALUATION_MEASURED)


def plan(*rows: dict[str, Any], **study: Any) -> Plan:
    return load_plan(grid(*rows, **study))


def names(*rows: dict[str, Any], **study: Any) -> list[str]:
    return [str(cell) for cell in plan(*rows, **study).cells]


def test_dense_ignores_every_other_axis() -> None:
    row = {"method": "dense", "pattern": ["unstructured", "2of4"], "sparsity": [0.5, 0.7], "seed": [3, 4]}
    (cell,) = plan(row).cells
    assert cell == Cell("tiny", "dense", "uniform", "unstructured", "0.00", "none", 0)


def test_magnitude_ignores_calibration_and_seed() -> None:
    row = {"method": "magnitude", "sparsity": 0.5, "calibration": ["text_4x16", "text_8x16"], "seed": [3, 4]}
    (cell,) = plan(row).cells
    assert cell == Cell("tiny", "magnitude", "uniform", "unstructured", "0.50", "none", 0)


def test_wanda_keeps_calibration_and_seed() -> None:
    row = {"method": "wanda", "sparsity": 0.5, "calibration": ["text_4x16", "text_8x16"], "seed": [3, 4]}
    assert [(cell.calibration, cell.seed) for cell in plan(row).cells] == [
        ("text_4x16", 3),
        ("text_8x16", 3),
        ("text_4x16", 4),
        ("text_8x16", 4),
    ]


def test_a_pattern_fixes_the_sparsity() -> None:
    row = {"method": "wanda", "pattern": ["2of4", "1of4", "5of8", "unstructured"]}
    # The sparsity of the defaults is for unstructured alone.
    defaults = {"model": "tiny", "calibration": "text_4x16", "sparsity": 0.7}
    cells = plan(row, defaults=defaults).cells
    assert [(cell.point, cell.sparsity) for cell in cells] == [
        ("2of4", "0.50"),
        ("1of4", "0.75"),
        ("5of8", "0.38"),
        ("unstructured-s0.70", "0.70"),
    ]


def test_a_pattern_may_state_its_sparsity() -> None:
    assert names({"method": "wanda", "pattern": "2of4", "sparsity": 0.5}) == ["tiny wanda uniform 2of4 text_4x16-seed0"]


def test_cells_have_the_order_of_the_grid_without_repetitions() -> None:
    assert names(
        {"method": ["wanda", "dense"], "sparsity": [0.7, 0.5]},
        {"method": ["magnitude", "wanda"], "sparsity": ["0.50", 0.6]},
    ) == [
        "tiny wanda uniform unstructured-s0.70 text_4x16-seed0",
        "tiny wanda uniform unstructured-s0.50 text_4x16-seed0",
        "tiny dense uniform unstructured-s0.00",
        "tiny magnitude uniform unstructured-s0.50",
        "tiny magnitude uniform unstructured-s0.60",
        "tiny wanda uniform unstructured-s0.60 text_4x16-seed0",
    ]


def test_a_row_overrides_the_defaults() -> None:
    defaults = {"model": "tiny", "calibration": "text_4x16", "sparsity": 0.5, "seed": 1}
    assert names({"method": "wanda"}, {"method": "wanda", "seed": 2, "sparsity": 0.6}, defaults=defaults) == [
        "tiny wanda uniform unstructured-s0.50 text_4x16-seed1",
        "tiny wanda uniform unstructured-s0.60 text_4x16-seed2",
    ]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"method": "wanda", "sparsity": 0.7}, ["magnitude 0.50", "magnitude 0.70", "wanda 0.50"]),
        ({"method": ["wanda", "magnitude"], "sparsity": ["0.7"]}, ["magnitude 0.50", "wanda 0.50"]),
        ({"sparsity": 0.5}, ["magnitude 0.70", "wanda 0.70"]),
    ],
)
def test_exclude(rule: dict[str, Any], kept: list[str]) -> None:
    cells = plan({"method": ["magnitude", "wanda"], "sparsity": [0.5, 0.7]}, exclude=[rule]).cells
    assert [f"{cell.method} {cell.sparsity}" for cell in cells] == kept


def test_a_pattern_with_an_allocator_that_decides_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Uniform, "structured", False)
    expansion = load_plan(grid({"method": ["magnitude", "dense"], "pattern": "2of4"})).studies["tiny"]
    assert list(map(str, expansion.cells)) == ["tiny dense uniform unstructured-s0.00"]
    assert [(str(cell), reason) for cell, reason in expansion.skipped] == [
        ("tiny magnitude uniform 2of4", "2of4 fixes the sparsity of every linear, uniform has nothing to decide")
    ]


def test_two_studies_share_a_cell() -> None:
    other = {
        "suites": ["ppl_tiny"],
        "grid": [{"model": "tiny", "method": ["dense", "magnitude"], "sparsity": [0.5, 0.9]}],
    }
    shared = load_plan(changed("studies.other", other))
    assert len(shared.studies["tiny"].cells) == 5
    assert len(shared.studies["other"].cells) == 3
    assert len(shared.cells) == 6
    assert len(shared.evaluations) == 6


def test_suites_of_studies_are_evaluated_on_their_own_cells_only() -> None:
    long = {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 32}}
    other = {"suites": ["ppl_tiny", "ppl_long"], "grid": [{"model": "tiny", "method": "dense"}]}
    shared = load_plan(changed("suites.ppl_long", long, changed("studies.other", other)))
    wanted = [(job["method"], job["point"], job["suite"]) for job in shared.evaluations]
    assert [job for job in wanted if job[2] == "ppl_long"] == [("dense", "unstructured-s0.00", "ppl_long")]
    assert len(wanted) == 6


def test_allocations_are_shared_by_methods_calibrations_and_seeds() -> None:
    row = {
        "method": ["magnitude", "wanda"],
        "sparsity": [0.5, 0.7],
        "calibration": ["text_4x16", "text_8x16"],
        "seed": [0, 1],
    }
    wide = plan(row)
    assert len(wide.cells) == 10
    assert {allocation_form(wide.config, cell).point for cell in wide.cells} == {
        "unstructured-s0.50",
        "unstructured-s0.70",
    }
    assert len({wide.allocation(cell) for cell in wide.cells}) == 2


WIDE = {
    "method": ["dense", "magnitude", "wanda", "wanda_down"],
    "pattern": ["unstructured", "2of4", "4of16"],
    "calibration": ["text_4x16", "text_16x4"],
    "seed": [0, 1, 10],
}


@pytest.fixture
def wide() -> Plan:
    defaults = {"model": "tiny", "sparsity": [0.05, 0.5]}
    return plan(WIDE, defaults=defaults)


def test_distinct_cells_have_distinct_paths(wide: Plan) -> None:
    made = [pattern.format(**cell.wildcards, suite="ppl_tiny") for cell in wide.cells for pattern in CELL_PATHS]
    assert len(made) == len(set(made)) == len(CELL_PATHS) * (1 + 4 + 2 * 4 * 6)


def test_wildcards_lead_back_to_the_cell(wide: Plan) -> None:
    for cell in wide.cells:
        assert Cell.of(cell.wildcards) == cell
        point = allocation_form(wide.config, cell)
        without_method = {key: value for key, value in point.wildcards.items() if key != "method"}
        assert Cell.of(without_method) == point


WANDA = {"method": "wanda", "sparsity": [0.5, 0.7]}


def evaluated(*rows: dict[str, Any], **study: Any) -> list[tuple[str, str, str]]:
    return [(job["method"], job["point"], job["suite"]) for job in plan(*rows, **study).evaluations]


def test_a_row_may_have_suites_of_its_own() -> None:
    made = evaluated({"method": "dense"}, {**WANDA, "suites": ["few_tiny"]})
    wanda = [("wanda", f"unstructured-s{sparsity}", "few_tiny") for sparsity in ("0.50", "0.70")]
    assert made == [("dense", "unstructured-s0.00", "ppl_tiny"), *wanda]


def test_a_cell_of_several_rows_has_the_suites_of_all() -> None:
    rows = ({**WANDA, "suites": "few_tiny"}, {"method": "wanda", "sparsity": 0.7}, {**WANDA, "suites": "few_tiny"})
    assert evaluated(*rows) == [
        ("wanda", "unstructured-s0.50", "few_tiny"),
        ("wanda", "unstructured-s0.70", "few_tiny"),
        ("wanda", "unstructured-s0.70", "ppl_tiny"),
    ]
    made = plan(*rows)
    assert made.shown.tables == [("tiny", "zeroshot"), ("tiny", "perplexity")]
    assert made.shown.suites_of("tiny", "zeroshot") == ["few_tiny"]


def test_suites_that_no_row_uses_make_no_table() -> None:
    made = plan({**WANDA, "suites": "few_tiny"})
    assert made.shown.tables == [("tiny", "zeroshot")] and made.shown.suites_of("tiny", "perplexity") == []


@pytest.mark.parametrize("pattern", CELL_PATHS)
def test_snakemake_reads_the_cell_from_its_path(wide: Plan, pattern: str) -> None:
    seen = set(re.findall(r"\{(\w+)\}", pattern))
    for cell in wide.cells:
        expected = {key: str(value) for key, value in {**cell.wildcards, "suite": "ppl_tiny"}.items() if key in seen}
        match = paths.expression(pattern).fullmatch(pattern.format(**cell.wildcards, suite="ppl_tiny"))
        assert match is not None
        assert match.groupdict() == expected
