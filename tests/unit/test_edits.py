"""An edit of a study or of the code changes the specs of the jobs whose results it can change: no more, no fewer.

That Snakemake runs these again, and what is made from their files, is shown in tests/dag/test_reruns.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dag.tiny_study import BROKEN, CALIBRATED, CELLS, MAGNITUDE, WANDA, WANDA_2OF4, evaluated, pruned, tables
from dag.tree import STUDY, replaced
from plans import another_comment, another_docstring, another_number, changed_jobs, edited_code, specs
from prunebench.plan.plan import load_plan
from studies import PACKAGE, SHAPE

TEXT = (Path(__file__).parents[1] / "dag" / STUDY).read_text()
METHODS = "workflow/prunebench/methods"
GRADIENTS = "gradients tiny text_4x16 0"


def planned(text: str) -> dict[str, str]:
    """The specs of all jobs of a study like the tiny one, but with models and text of packages: no file is needed."""
    config = yaml.safe_load(text)
    for entry in config["models"].values():
        entry |= {"source": PACKAGE, "shape": SHAPE}
    config["corpora"]["text"]["source"] = PACKAGE
    return specs(load_plan(config))


def shown(study: str = "tiny", *more: str) -> set[str]:
    """The jobs that show the cells. The spec of each holds the whole config."""
    return (tables(study) - {"all"}) | {"strict"} | set(more)


IN_THE_STUDY: dict[str, tuple[str, str, set[str]]] = {
    "write 0.50 for 0.5": (
        "wanda], sparsity: 0.5}",
        "wanda], sparsity: 0.50}",
        set(),
    ),
    "reorder the keys of a row": (
        "{model: tiny, method: wanda, pattern: 2of4}",
        "{pattern: 2of4, method: wanda, model: tiny}",
        set(),
    ),
    "add a sparsity": (
        "wanda], sparsity: 0.5}",
        "wanda], sparsity: [0.5, 0.7]}",
        {"allocate tiny uniform unstructured-s0.70 none 0"}
        | pruned(MAGNITUDE.replace("0.50", "0.70"), WANDA.replace("0.50", "0.70"))
        | evaluated(MAGNITUDE.replace("0.50", "0.70"), WANDA.replace("0.50", "0.70"))
        | shown(),
    ),
    "remove a cell": (
        "      - {model: tiny, method: wanda, pattern: 2of4}\n",
        "",
        shown(),
    ),
    "change a parameter of a method": (
        "rounding: nearest",
        "rounding: down",
        pruned(*CALIBRATED) | evaluated(*CALIBRATED) | shown(),
    ),
    "ask for a table": (
        "suites: [ppl_tiny]",
        "suites: [ppl_tiny]\n    tables: gain",
        shown("tiny", "tables tiny gain"),
    ),
    "swap two parameters of a suite": (
        "seqlen: 16, windows: 4",
        "seqlen: 4, windows: 16",
        evaluated(*CELLS) | shown(),
    ),
    "swap two compute settings": (
        "batch_size: 2, threads: 1",
        "batch_size: 1, threads: 2",
        pruned(*CALIBRATED) | evaluated(*CELLS) | shown(),
    ),
    "change the calibration size": (
        "calibration: text_4x16",
        "calibration: text_8x16",
        {"calibrate tiny text_8x16 0"}
        | pruned(*(cell.replace("4x16", "8x16") for cell in CALIBRATED))
        | evaluated(*(cell.replace("4x16", "8x16") for cell in CALIBRATED))
        | shown(),
    ),
    "add a suite": (
        "suites: [ppl_tiny]",
        "suites: [ppl_tiny, ppl_tiny_long]",
        evaluated(*CELLS, suite="ppl_tiny_long") | shown(),
    ),
    "add a suite to one row": (
        "{model: tiny, method: wanda, pattern: 2of4}",
        "{model: tiny, method: wanda, pattern: 2of4, suites: [ppl_tiny, ppl_tiny_long]}",
        evaluated(WANDA_2OF4, suite="ppl_tiny_long") | shown(),
    ),
    "rename the study": (
        "\n  tiny:\n    suites",
        "\n  small:\n    suites",
        shown("small"),
    ),
    "add a study of cells that are there": (
        "compute:",
        "  more:\n    suites: [ppl_tiny]\n    grid: [{model: tiny, method: [dense, magnitude], sparsity: 0.5}]\n"
        "compute:",
        shown() | shown("more") - {"figures more reconstruction"},
    ),
    "add an entry that nothing uses": (
        "methods:\n",
        "methods:\n  wanda_down: {method: wanda, params: {rounding: down}}\n",
        shown(),
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), IN_THE_STUDY.values(), ids=IN_THE_STUDY)
def test_edit_of_the_study(old: str, new: str, expected: set[str]) -> None:
    assert changed_jobs(planned(TEXT), planned(replaced(TEXT, old, new, STUDY))) == expected


PRUNING = (MAGNITUDE, *CALIBRATED, BROKEN)
FIGURES = tables() - {"collect", "tables tiny perplexity", "all"}
IN_THE_CODE: dict[str, tuple[str, Callable[[str], str], set[str]]] = {
    "numerics of wanda": (
        f"{METHODS}/wanda.py",
        another_number,
        pruned(*CALIBRATED) | evaluated(*CALIBRATED),
    ),
    "numerics that methods share": (
        "workflow/prunebench/formulas/scores.py",
        another_number,
        pruned(*PRUNING) | evaluated(*PRUNING),
    ),
    "numerics of the suite": (
        "workflow/prunebench/suites/perplexity.py",
        another_number,
        evaluated(*CELLS) | FIGURES | {"tables tiny perplexity"},
    ),
    "colours of figures": ("workflow/prunebench/figures/palette.py", another_number, FIGURES),
    "comment": (f"{METHODS}/wanda.py", another_comment, set()),
    "docstring": (f"{METHODS}/wanda.py", another_docstring, set()),
    "logging": ("workflow/prunebench/runtime/progress.py", another_number, set()),
}


@pytest.mark.parametrize(("file", "edit", "expected"), IN_THE_CODE.values(), ids=IN_THE_CODE)
def test_edit_of_the_code(file: str, edit: Callable[[str], str], expected: set[str]) -> None:
    before = planned(TEXT)
    with edited_code(file, edit):
        assert changed_jobs(before, planned(TEXT)) == expected
    assert planned(TEXT) == before, "the edit has ended"


def test_gradients_are_made_again_for_their_own_code_and_not_for_that_of_a_method_that_reads_them() -> None:
    text = replaced(TEXT, "method: [magnitude, wanda], sparsity", "method: pruner_zero, sparsity", STUDY)
    before = planned(text)
    cell = "tiny pruner_zero uniform unstructured-s0.50 text_4x16 0"
    assert GRADIENTS in before
    ends = pruned(cell) | evaluated(cell)
    with edited_code(f"{METHODS}/pruner_zero.py", another_number):
        assert changed_jobs(before, planned(text)) == ends
    with edited_code("workflow/prunebench/engine/gradients.py", another_number):
        assert changed_jobs(before, planned(text)) == {GRADIENTS} | ends
    # A formula without G needs none of them.
    entry = "methods:\n  pruner_zero: {method: pruner_zero, params: {expression: sqr(W)}}\n"
    without = planned(replaced(text, "methods:\n", entry, STUDY))
    assert GRADIENTS not in without
    assert changed_jobs(before, without) == ends | shown()
