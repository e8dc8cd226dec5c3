"""`prunebench gc` finds what no study wants, all of it and nothing else."""

import subprocess
from pathlib import Path

import pytest
from test_view import PRUNEBENCH, WANDA, frozen
from tree import STUDY, Tree

from dag.tiny_study import tables

DROPPED = "tiny/wanda/uniform/2of4/text_4x16-seed0"
BROKEN = "broken/magnitude/uniform/unstructured-s0.50/none-seed0"
POINT = "tiny/uniform/2of4/none-seed0"


def gc(tree: Tree, *words: str) -> "subprocess.CompletedProcess[str]":
    run = tree.python(PRUNEBENCH, "gc", "--configfile", STUDY, *words)
    assert run.returncode == 0, run.stdout
    return run


def listed(tree: Tree, *words: str) -> set[str]:
    return {line.split()[-1] for line in gc(tree, *words).stdout.splitlines()[:-1]}


def files(tree: Tree) -> set[str]:
    places = [tree.root / place for place in ("results", "logs", "benchmarks", "resources")]
    return {path.relative_to(tree.root).as_posix() for place in places for path in place.rglob("*") if path.is_file()}


def drop_a_cell(tree: Tree) -> None:
    tree.edit(STUDY, "      - {model: tiny, method: wanda, pattern: 2of4}\n", "")


OF_THE_CELL = {
    *(f"results/pruned/{DROPPED}/{name}" for name in ("prune.json", "measured.json", "weights.safetensors")),
    *(f"results/evaluations/{DROPPED}/{name}" for name in ("ppl_tiny.json", "ppl_tiny.measured.json")),
    *(f"{of}/prune/{DROPPED}.{suffix}" for of, suffix in (("logs", "log"), ("benchmarks", "tsv"))),
    *(f"{of}/evaluate/{DROPPED}/ppl_tiny.{suffix}" for of, suffix in (("logs", "log"), ("benchmarks", "tsv"))),
    f"results/allocations/{POINT}.json",
    f"results/allocations/{POINT}.measured.json",
    f"logs/allocate/{POINT}.log",
    f"benchmarks/allocate/{POINT}.tsv",
}


def test_a_finished_study_has_no_orphans(finished: Tree) -> None:
    assert listed(finished, "--downloads", "--unfinished") == set()


def test_of_a_cell_that_left_the_study_all_goes_and_nothing_else(tree: Tree) -> None:
    drop_a_cell(tree)
    (tree.root / "results/README.md").write_text("mine")
    mine = tree.root / f"results/pruned/{DROPPED}/notes.txt"
    mine.write_text("mine")
    before = files(tree)
    assert listed(tree) == OF_THE_CELL
    assert files(tree) == before, "listing deleted something"
    gc(tree, "--yes")
    assert before - files(tree) == OF_THE_CELL
    assert mine.exists()
    assert not (tree.root / f"results/evaluations/{DROPPED}").exists()
    assert tree.planned() == tables()


def test_what_another_study_wants_stays(tree: Tree) -> None:
    wanting = tree.root / "config/studies/other.yaml"
    wanting.write_text((tree.root / STUDY).read_text().replace("  tiny:\n    suites", "  other:\n    suites"))
    drop_a_cell(tree)
    assert listed(tree, "--configfile", "config/studies/other.yaml") == set()
    assert listed(tree) == OF_THE_CELL, "a config that was never run here is none that counts"


def test_downloads_only_when_asked(tree: Tree) -> None:
    tree.edit(STUDY, "      - {model: broken, method: magnitude, sparsity: 0.5}\n", "")
    assert not any(path.startswith("resources") for path in listed(tree))
    assert [path for path in listed(tree, "--downloads") if path.startswith("resources")] == ["resources/models/broken"]
    gc(tree, "--downloads", "--yes")
    assert not (tree.root / "resources/models/broken").exists()
    assert (tree.root / "assets/broken/model.safetensors").exists(), "a local model is not ours"


def leave(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("left by a killed job")
    return path


@pytest.mark.parametrize(
    "place",
    [
        f"results/pruned/{WANDA}/.blocks/block_000.safetensors",
        f"results/pruned/{WANDA}/.weights.safetensors.part",
        f"results/evaluations/{WANDA}/.ppl_tiny.parts/0.json",
        "resources/models/.tiny.download.part/model.safetensors",
        "resources/models/..tiny.gguf.part.download.part/wheel.whl",
        "results/of/tiny/.cells.csv.part",
        "results/trained/.mini.parts/state.pt",
    ],
)
def test_unfinished_work_beside_a_finished_result_goes(tree: Tree, place: str) -> None:
    file = leave(tree.root / place)
    (found,) = listed(tree, "--downloads")
    assert place.startswith(found)
    gc(tree, "--downloads", "--yes")
    assert not file.exists()


def test_what_a_failed_job_keeps_for_the_next_try_stays_unless_asked_for(tree: Tree) -> None:
    blocks = f"results/pruned/{BROKEN}/.blocks"
    file = leave(tree.root / blocks / "block_000.safetensors")
    assert listed(tree) == set()
    assert listed(tree, "--unfinished") == {blocks}
    gc(tree, "--unfinished", "--yes")
    assert not file.exists()


@pytest.mark.parametrize("place", ["results/.mine.part", "results/pruned/.blocks/x", "results/figures/.mine.parts/x"])
def test_what_only_looks_like_scratch_stays(tree: Tree, place: str) -> None:
    leave(tree.root / place)
    assert listed(tree, "--unfinished") == set()


def test_what_a_killed_job_would_resume_from_stays_unless_asked_for(tree: Tree) -> None:
    with frozen(tree):
        assert listed(tree, "--unfinished") == set(), "the job runs"
    assert listed(tree) == set()
    assert listed(tree, "--unfinished") == {f"results/pruned/{WANDA}/.blocks"}


def test_files_of_a_running_job_stay_although_no_study_wants_them(tree: Tree) -> None:
    blocks, tokens = f"results/pruned/{WANDA}/.blocks", "results/calibration/tiny/text_4x16-seed0.npy"
    with frozen(tree):
        tree.edit(STUDY, "method: [magnitude, wanda], sparsity: 0.5", "method: magnitude, sparsity: 0.5")
        drop_a_cell(tree)
        found = listed(tree, "--downloads")
        assert f"results/evaluations/{WANDA}/ppl_tiny.json" in found
        assert not found & {blocks, tokens, f"logs/prune/{WANDA}.log", "resources/models/tiny"}
    assert {blocks, tokens, f"logs/prune/{WANDA}.log"} <= listed(tree)


def test_files_that_a_run_of_snakemake_has_locked_stay(tree: Tree) -> None:
    drop_a_cell(tree)
    lock = tree.root / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(f"results/pruned/{DROPPED}/prune.json\n")
    assert listed(tree) == OF_THE_CELL - {f"results/pruned/{DROPPED}/prune.json"}


def test_a_config_that_cannot_be_read_deletes_nothing(tree: Tree) -> None:
    drop_a_cell(tree)
    (tree.root / "config/studies/bad.yaml").write_text("studies: {}\n")
    record = leave(tree.root / "results/of/config/studies/bad/config.json")
    record.write_text('{"file": "config/studies/bad.yaml", "config": {}}')
    before = files(tree)
    run = tree.python(PRUNEBENCH, "gc", "--yes", "--configfile", STUDY)
    assert run.returncode == 1 and "config/studies/bad.yaml" in run.stdout
    assert files(tree) == before
