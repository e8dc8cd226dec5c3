"""Snakemake runs what changed, and what is made from it: no more, no fewer.

Which edits change a job is shown without it, in tests/unit/test_edits.py. Here stands one edit for each way in which
Snakemake sees it: by a param, by a file that is missing, newer or other than it was.
"""

import os
import shutil
from pathlib import Path

from dag.tiny_study import (
    BROKEN,
    CALIBRATED,
    CELLS,
    MAGNITUDE,
    TINY,
    WANDA,
    WANDA_2OF4,
    evaluated,
    made_from_model,
    pruned,
    tables,
)
from dag.tree import STUDY, Tree
from plans import another_comment, another_number

WANDA_CODE = "workflow/prunebench/methods/wanda.py"
WANDA_FILES = "tiny/wanda/uniform/unstructured-s0.50/text_4x16-seed0"
ACCEPT = "from prunebench.cli import app; app()"


def test_nothing_although_a_local_model_was_touched_and_weights_were_deleted(tree: Tree) -> None:
    """The evaluations of the cell are there, so its weights may be deleted to save space."""
    os.utime(tree.root / "assets/tiny/config.json")
    (tree.root / f"results/pruned/{WANDA_FILES}/weights.safetensors").unlink()
    assert tree.planned() == set()


def test_a_parameter_of_a_method(tree: Tree) -> None:
    tree.edit(STUDY, "rounding: nearest", "rounding: down")
    assert tree.planned() == pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables()


def test_one_more_sparsity(tree: Tree) -> None:
    tree.edit(STUDY, "wanda], sparsity: 0.5}", "wanda], sparsity: [0.5, 0.7]}")
    cells = [cell.replace("0.50", "0.70") for cell in (MAGNITUDE, WANDA)]
    new = {"allocate tiny uniform unstructured-s0.70 none 0"} | pruned(*cells) | evaluated(*cells)
    assert tree.planned() == new | tables()


def test_code_until_it_is_accepted(tree: Tree) -> None:
    tree.rewrite(WANDA_CODE, another_comment)
    tree.rewrite(WANDA_CODE, another_number)
    assert tree.planned() == pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables()
    run = tree.python(ACCEPT, "accept", "--base", "HEAD")
    assert run.returncode == 0, run.stdout
    assert tree.planned() == set()
    # Accepting one version says nothing about the next.
    tree.rewrite(WANDA_CODE, another_number)
    assert tree.planned() == pruned(*CALIBRATED) | evaluated(*CALIBRATED) | tables()


MINE = "tiny mine uniform unstructured-s0.50 text_4x16 0"
MINE_FILES = "tiny/mine/uniform/unstructured-s0.50/text_4x16-seed0"


def test_code_of_a_method_that_the_project_has(tree: Tree) -> None:
    text = (tree.root / WANDA_CODE).read_text()
    code = tree.root / "plugins/methods/mine.py"
    code.parent.mkdir(parents=True)
    code.write_text(text.replace("class Wanda", "class Mine").replace('name = "wanda"', 'name = "mine"'))
    tree.edit(STUDY, "wanda], sparsity: 0.5}", "wanda, mine], sparsity: 0.5}")
    assert tree.planned() == pruned(MINE) | evaluated(MINE) | tables()
    run = tree.snakemake(f"results/evaluations/{MINE_FILES}/ppl_tiny.json")
    assert run.returncode == 0, run.stdout
    assert tree.planned() == tables()
    tree.rewrite("plugins/methods/mine.py", another_comment)
    assert tree.planned() == tables()
    tree.rewrite("plugins/methods/mine.py", another_number)
    assert tree.planned() == pruned(MINE) | evaluated(MINE) | tables()


def test_look_of_the_report(tree: Tree) -> None:
    tree.rewrite("workflow/prunebench/report/template/report.css", lambda text: f"{text}\np {{ margin: 1px }}\n")
    assert tree.planned() == {"report", "all"}


POINTS = {"unstructured-s0.00", "unstructured-s0.50", "2of4"}
FROM_TINY = made_from_model("tiny", *TINY, points=POINTS) | {"calibrate tiny text_4x16 0"}
FROM_BROKEN = made_from_model("broken", BROKEN, points={"unstructured-s0.50"})


def change(tree: Tree, file: str) -> None:
    path = tree.root / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_changed_file_of_a_local_model(tree: Tree) -> None:
    change(tree, "assets/tiny/tokenizer.json")
    assert tree.planned() == {"fetch_model tiny"} | FROM_TINY | tables()


def copied_with_its_time(path: Path, other: Path) -> None:
    shutil.copy2(other, path)


def moved(path: Path, other: Path) -> None:
    other.rename(path)


def edited_in_place(path: Path, other: Path) -> None:
    at = path.stat()
    with path.open("r+b") as file:
        file.write(other.read_bytes())
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def test_local_files_of_equal_size_that_are_not_newer(tree: Tree) -> None:
    """Copies keep the time of the content, so neither the size nor the time tells that a file is another one."""
    replacements = {
        "assets/tiny/model.safetensors": copied_with_its_time,
        "assets/text.txt": moved,
        "assets/broken/model.safetensors": edited_in_place,
    }
    for file, replace in replacements.items():
        path, other = tree.root / file, tree.root / "other"
        at = path.stat()
        shutil.copy2(path, other)
        change(tree, "other")
        os.utime(other, ns=(at.st_atime_ns, at.st_mtime_ns - 10**12))
        replace(path, other)
        assert path.stat().st_size == at.st_size and path.stat().st_mtime_ns <= at.st_mtime_ns
    # No result of the former content is shown in the meantime.
    run = tree.python(ACCEPT, "collect", "--configfile", STUDY)
    assert run.returncode == 0, run.stdout
    rows = (tree.root / "results/of/tiny/cells.csv").read_text().splitlines()[1:]
    assert rows and not [row for row in rows if ",ok," in row]
    fetched = {"fetch_model tiny", "fetch_model broken", "fetch_corpus text"}
    assert tree.planned() == fetched | FROM_TINY | FROM_BROKEN | tables()


def test_changed_files_of_another_model_and_of_a_local_corpus(tree: Tree) -> None:
    change(tree, "assets/broken/model.safetensors")
    change(tree, "assets/text.txt")
    from_text = {"fetch_corpus text", "calibrate tiny text_4x16 0"} | pruned(*CALIBRATED) | evaluated(*CELLS)
    assert tree.planned() == {"fetch_model broken"} | FROM_BROKEN | from_text | tables()


def test_a_deleted_evaluation(tree: Tree) -> None:
    (tree.root / f"results/evaluations/{WANDA_FILES}/ppl_tiny.json").unlink()
    assert tree.planned() == evaluated(WANDA) | tables()


def test_deleted_cells(tree: Tree) -> None:
    (tree.root / "results/of/tiny/cells.csv").unlink()
    assert tree.planned() == tables()


def test_deleted_outputs(tree: Tree) -> None:
    for file in ("tables/tiny/perplexity.tex", "figures/tiny/cost.png", "report/index.html"):
        (tree.root / "results/of/tiny" / file).unlink()
    assert tree.planned() == {"tables tiny perplexity", "figures tiny cost", "report", "all"}


def test_deleted_weights_are_made_again_when_something_needs_them(tree: Tree) -> None:
    (tree.root / "results/pruned/tiny/wanda/uniform/2of4/text_4x16-seed0/weights.safetensors").unlink()
    tree.edit(STUDY, "suites: [ppl_tiny]", "suites: [ppl_tiny, ppl_tiny_long]")
    again = pruned(WANDA_2OF4) | evaluated(WANDA_2OF4)
    assert tree.planned() == again | evaluated(*CELLS, suite="ppl_tiny_long") | tables()


PRUNER_ZERO = "tiny pruner_zero uniform unstructured-s0.50 text_4x16 0"


def test_gradients_are_made_for_the_method_that_looks_at_them(tree: Tree) -> None:
    tree.edit(STUDY, "method: [magnitude, wanda], sparsity", "method: [magnitude, wanda, pruner_zero], sparsity")
    gradients = {"gradients tiny text_4x16 0"}
    assert tree.planned() == gradients | pruned(PRUNER_ZERO) | evaluated(PRUNER_ZERO) | tables()
    run = tree.snakemake(
        "results/evaluations/tiny/pruner_zero/uniform/unstructured-s0.50/text_4x16-seed0/ppl_tiny.json"
    )
    assert run.returncode == 0, run.stdout
    assert tree.planned() == tables()
