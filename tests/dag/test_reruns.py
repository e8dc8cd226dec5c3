"""Every kind of change plans exactly the jobs whose results it can change: no more, no fewer."""

import os

import pytest

from dag.tree import STUDY, Tree

DENSE = "tiny dense uniform unstructured-s0.00 none 0"
MAGNITUDE = "tiny magnitude uniform unstructured-s0.50 none 0"
WANDA = "tiny wanda uniform unstructured-s0.50 text_4x16 0"
WANDA_2OF4 = "tiny wanda uniform 2of4 text_4x16 0"
BROKEN = "broken magnitude uniform unstructured-s0.50 none 0"
CALIBRATED = (WANDA, WANDA_2OF4)
TINY = (DENSE, MAGNITUDE, *CALIBRATED)
CELLS = (*TINY, BROKEN)
POINTS = {"unstructured-s0.00", "unstructured-s0.50", "2of4"}

METHODS = "workflow/prunebench/methods"
FIGURES = ("perplexity", "reconstruction", "cost")
"""Those that have something to show for the tiny study."""
ACCEPT = "from prunebench.cli import app; app()"


def pruned(*cells: str) -> set[str]:
    return {f"prune {cell}" for cell in cells}


def evaluated(*cells: str, suite: str = "ppl_tiny") -> set[str]:
    return {f"evaluate {cell} {suite}" for cell in cells}


def tables(study: str = "tiny", figures: tuple[str, ...] = FIGURES) -> set[str]:
    """Everything that is made from cells.csv."""
    drawn = {f"figures {study} {figure}" for figure in figures}
    return {"collect", f"tables {study} perplexity", "report", "all"} | drawn


def made_from_model(model: str, *cells: str, points: set[str]) -> set[str]:
    return {f"allocate {model} uniform {point} none 0" for point in points} | pruned(*cells) | evaluated(*cells)


def test_nothing(tree: Tree) -> None:
    assert tree.planned() == set()


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
        | tables(),
    ),
    "remove a cell": (
        "      - {model: tiny, method: wanda, pattern: 2of4}\n",
        "",
        tables(),
    ),
    "change a parameter of a method": (
        "rounding: nearest",
        "rounding: down",
        pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables(),
    ),
    "ask for a table": (
        "suites: [ppl_tiny]",
        "suites: [ppl_tiny]\n    tables: gain",
        tables() | {"tables tiny gain"},
    ),
    "swap two parameters of a suite": (
        "seqlen: 16, windows: 4",
        "seqlen: 4, windows: 16",
        evaluated(*CELLS) | tables(),
    ),
    "swap two compute settings": (
        "batch_size: 2, threads: 1",
        "batch_size: 1, threads: 2",
        pruned(*CALIBRATED) | evaluated(*CELLS) | tables(),
    ),
    "change the thread count": (
        "threads: 1",
        "threads: 2",
        pruned(*CALIBRATED) | evaluated(*CELLS) | tables(),
    ),
    "change the calibration size": (
        "calibration: text_4x16",
        "calibration: text_8x16",
        {"calibrate tiny text_8x16 0"}
        | pruned(*(cell.replace("4x16", "8x16") for cell in CALIBRATED))
        | evaluated(*(cell.replace("4x16", "8x16") for cell in CALIBRATED))
        | tables(),
    ),
    "add a suite": (
        "suites: [ppl_tiny]",
        "suites: [ppl_tiny, ppl_tiny_long]",
        evaluated(*CELLS, suite="ppl_tiny_long") | tables(),
    ),
    "add a suite to one row": (
        "{model: tiny, method: wanda, pattern: 2of4}",
        "{model: tiny, method: wanda, pattern: 2of4, suites: [ppl_tiny, ppl_tiny_long]}",
        evaluated(WANDA_2OF4, suite="ppl_tiny_long") | tables(),
    ),
    "rename the study": (
        "\n  tiny:\n    suites",
        "\n  small:\n    suites",
        tables("small"),
    ),
    "add an entry that nothing uses": (
        "methods:\n",
        "methods:\n  wanda_down: {method: wanda, params: {rounding: down}}\n",
        tables(),
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), IN_THE_STUDY.values(), ids=IN_THE_STUDY)
def test_change_of_the_study(tree: Tree, old: str, new: str, expected: set[str]) -> None:
    tree.edit(STUDY, old, new)
    assert tree.planned() == expected


IN_THE_CODE: dict[str, tuple[str, str, str, set[str]]] = {
    "numerics of wanda": (
        f"{METHODS}/wanda.py",
        "return int(weights * sparsity) if",
        "return int(weights * sparsity + 0.5) if",
        pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables(),
    ),
    "numerics that methods share": (
        "workflow/prunebench/formulas/scores.py",
        "squared_norm.double().sqrt()",
        "squared_norm.double()",
        pruned(MAGNITUDE, *CALIBRATED, BROKEN) | evaluated(MAGNITUDE, *CALIBRATED, BROKEN) | tables(),
    ),
    "numerics of the suite": (
        "workflow/prunebench/suites/perplexity.py",
        "value * statistics.stdev(losses)",
        "value * statistics.pstdev(losses)",
        evaluated(*CELLS) | tables(),
    ),
    "colours of figures": (
        "workflow/prunebench/figures/palette.py",
        '"#0072b2", ',
        '"#0072b3", ',
        tables() - {"collect", "tables tiny perplexity"},
    ),
    "look of the report": (
        "workflow/prunebench/report/template/report.css",
        "max-width: 1240px",
        "max-width: 1280px",
        {"report", "all"},
    ),
    "comment": (
        f"{METHODS}/wanda.py",
        "        score = scores",
        "        # One at a time.\n        score = scores",
        set(),
    ),
    "docstring": (
        f"{METHODS}/wanda.py",
        "The lowest scores of each row.",
        "Row by row.",
        set(),
    ),
    "logging": (
        "workflow/prunebench/runtime/progress.py",
        "{what} {done} of {total}, ",
        "{what} {done} of {total}: ",
        set(),
    ),
}


@pytest.mark.parametrize(("file", "old", "new", "expected"), IN_THE_CODE.values(), ids=IN_THE_CODE)
def test_change_of_the_code(tree: Tree, file: str, old: str, new: str, expected: set[str]) -> None:
    tree.edit(file, old, new)
    assert tree.planned() == expected


def test_accepted_refactoring(tree: Tree) -> None:
    old = "score = scores.wanda(weight, statistic.squared_norm)\n"
    new = "norm = statistic.squared_norm\n        score = scores.wanda(weight, norm)\n"
    tree.edit(f"{METHODS}/wanda.py", old, new)
    assert tree.planned() == pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables()
    run = tree.python(ACCEPT, "accept", "--base", "HEAD")
    assert run.returncode == 0, run.stdout
    assert tree.planned() == set()
    # Accepting one version says nothing about the next.
    tree.edit(f"{METHODS}/wanda.py", "squared_norm\n        score", "squared_norm * 2\n        score")
    assert tree.planned() == pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables()


def test_refactoring_that_fails_the_golden_tests_is_not_accepted(tree: Tree) -> None:
    tree.edit(f"{METHODS}/wanda.py", 'scope = "row"', 'scope = "matrix"')
    (tree.root / "tests/golden/test_more.py").write_text("def test_more():\n    assert False\n")
    assert tree.python(ACCEPT, "accept", "--base", "HEAD").returncode == 1
    assert tree.planned() == pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables()


FROM_TINY = made_from_model("tiny", *TINY, points=POINTS) | {"calibrate tiny text_4x16 0"}
FROM_BROKEN = made_from_model("broken", BROKEN, points={"unstructured-s0.50"})
CHANGED_FILES = {
    "assets/tiny/model.safetensors": {"fetch_model tiny"} | FROM_TINY | tables(),
    "assets/tiny/tokenizer.json": {"fetch_model tiny"} | FROM_TINY | tables(),
    "assets/broken/config.json": {"fetch_model broken"} | FROM_BROKEN | tables(),
    "assets/text.txt": {"fetch_corpus text", "calibrate tiny text_4x16 0"}
    | pruned(*CALIBRATED)
    | evaluated(*CELLS)
    | tables(),
}


@pytest.mark.parametrize(("file", "expected"), CHANGED_FILES.items(), ids=CHANGED_FILES)
def test_changed_file_of_a_local_model_or_corpus(tree: Tree, file: str, expected: set[str]) -> None:
    path = tree.root / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert tree.planned() == expected


def test_touched_file_of_a_local_model(tree: Tree) -> None:
    os.utime(tree.root / "assets/tiny/config.json")
    assert tree.planned() == set()


DELETED = {
    "results/evaluations/{cell}/ppl_tiny.json": evaluated(WANDA) | tables(),
    # Its evaluations are there: weights may be deleted to save space.
    "results/pruned/{cell}/weights.safetensors": set(),
    "results/cells.csv": tables(),
    "results/tables/tiny/perplexity.tex": {"tables tiny perplexity", "all"},
    "results/figures/tiny/cost.png": {"figures tiny cost", "all"},
    "results/report/index.html": {"report", "all"},
}


@pytest.mark.parametrize(("file", "expected"), DELETED.items(), ids=DELETED)
def test_deleted_result(tree: Tree, file: str, expected: set[str]) -> None:
    (tree.root / file.format(cell="tiny/wanda/uniform/unstructured-s0.50/text_4x16-seed0")).unlink()
    assert tree.planned() == expected


def test_deleted_weights_are_made_again_when_something_needs_them(tree: Tree) -> None:
    (tree.root / "results/pruned/tiny/wanda/uniform/2of4/text_4x16-seed0/weights.safetensors").unlink()
    tree.edit(STUDY, "suites: [ppl_tiny]", "suites: [ppl_tiny, ppl_tiny_long]")
    again = pruned(WANDA_2OF4) | evaluated(WANDA_2OF4)
    assert tree.planned() == again | evaluated(*CELLS, suite="ppl_tiny_long") | tables()


def test_shared_cells_are_computed_once(tree: Tree) -> None:
    more = "  more:\n    suites: [ppl_tiny]\n    grid: [{model: tiny, method: [dense, magnitude], sparsity: 0.5}]\n"
    tree.edit(STUDY, "compute:", f"{more}compute:")
    assert tree.planned() == tables() | tables("more", ("perplexity", "cost"))


PRUNER_ZERO = "tiny pruner_zero uniform unstructured-s0.50 text_4x16 0"
GRADIENTS = {"gradients tiny text_4x16 0"}


def test_gradients_are_made_for_the_methods_that_look_at_them_and_run_again_with_their_own_code(tree: Tree) -> None:
    tree.edit(STUDY, "method: [magnitude, wanda], sparsity", "method: [magnitude, wanda, pruner_zero], sparsity")
    ends = pruned(PRUNER_ZERO) | evaluated(PRUNER_ZERO) | tables()
    assert tree.planned() == GRADIENTS | ends
    run = tree.snakemake(
        "results/evaluations/tiny/pruner_zero/uniform/unstructured-s0.50/text_4x16-seed0/ppl_tiny.json"
    )
    assert run.returncode == 0, run.stdout
    assert tree.planned() == tables()
    method, engine = f"{METHODS}/pruner_zero.py", "workflow/prunebench/engine/gradients.py"
    for file, old, new, expected in (
        (method, 'scope = "row"', 'scope = "matrix"', ends),
        (engine, ".logits[0, :-1].float()", ".logits[0, :-1].double()", GRADIENTS | ends),
    ):
        tree.edit(file, old, new)
        assert tree.planned() == expected
        tree.edit(file, new, old)
    # A formula without G needs none of them.
    tree.edit(STUDY, "methods:\n", "methods:\n  pruner_zero: {method: pruner_zero, params: {expression: sqr(W)}}\n")
    assert tree.planned() == ends
