"""Studies beside each other: a run of one config leaves the results of another as they are, and all are known."""

import shutil
from pathlib import Path

import pytest
from test_gc import BROKEN, listed
from test_view import PRUNEBENCH
from tree import STUDY, Tree, replaced

OTHER = "mine/other.yaml"
HOME, OF_OTHER = "results/of/tiny", "results/of/mine/other"
MORE = "tiny/magnitude/uniform/unstructured-s0.70/none-seed0"


def with_another(tree: Tree) -> None:
    """Add a config with a cell of its own beside two of the tiny study, and run it."""
    (tree.root / "mine").mkdir()
    text = (tree.root / STUDY).read_text()
    start, end = text.index("    grid:"), text.index("\ncompute:")
    grid = "    grid:\n      - {model: tiny, method: dense}\n      - {model: tiny, method: magnitude, sparsity: 0.7}"
    (tree.root / OTHER).write_text(text[:start] + grid + text[end:])
    run = tree.snakemake(study=OTHER)
    assert run.returncode == 0, run.stdout


def unasked(tree: Tree, *words: str) -> set[str]:
    """The list that gc prints if nobody names a config."""
    run = tree.python(PRUNEBENCH, "gc", *words)
    assert run.returncode == 0, run.stdout
    return {line.split()[-1] for line in run.stdout.splitlines()[:-1]}


def test_studies_stand_beside_each_other(tree: Tree) -> None:
    names = ("cells.csv", "report/index.html", "tables/tiny/perplexity.md", "figures/tiny/cost.svg")
    before = {name: (tree.root / HOME / name).read_bytes() for name in names}
    with_another(tree)
    assert {name: (tree.root / HOME / name).read_bytes() for name in names} == before
    assert MORE.split("/")[1] in (tree.root / OF_OTHER / "cells.csv").read_text()
    assert all((tree.root / OF_OTHER / name).is_file() for name in names)
    for study in (STUDY, OTHER):
        again = tree.snakemake("--dry-run", study=study)
        assert "Nothing to be done" in again.stdout, "switching back runs nothing"
        home = HOME if study == STUDY else OF_OTHER
        cells = "4 of 5" if study == STUDY else "2 of 2"
        assert f"{cells} cells of {study} have results. The tables are in {home}/tables" in again.stdout

    index = (tree.root / "results/index.html").read_text()
    for config, report in ((STUDY, "of/tiny"), (OTHER, "of/mine/other")):
        assert f'href="{report}/report/index.html"' in index and f"<code>{config}</code>" in index
    assert "<td>2 of 2</td>" in index, "cells done of the second"

    # Nobody names a config, and its file may have gone: what was run is known.
    assert unasked(tree) == set()
    shutil.rmtree(tree.root / "mine")
    assert unasked(tree) == set() == listed(tree)
    # Without its record nothing asks for the second study any more, and only what is its own goes.
    (tree.root / OF_OTHER / "config.json").unlink()
    orphans = unasked(tree)
    assert f"results/pruned/{MORE}/prune.json" in orphans and f"{OF_OTHER}/cells.csv" in orphans
    assert not any(BROKEN in name or name.startswith(f"{HOME}/") or "/dense/" in name for name in orphans)
    (tree.root / HOME / "config.json").write_text("{")
    run = tree.python(PRUNEBENCH, "gc", "--yes")
    assert run.returncode == 1 and "config.json is damaged" in run.stdout and "Traceback" not in run.stdout


def results(tree: Tree) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((tree.root / "results").rglob("*.json"))}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "seqlen: 16, windows: 4}}",
            "seqlen: 16, windows: 2}}",
            "mine.yaml would replace 5 results of tiny.yaml, such as results/evaluations/",
        ),
        (
            "{title: Tiny, family: llama",
            "{title: Tiny, dtype: float32, family: llama",
            "because both give its names to different settings (model, storage): choose other names",
        ),
        ("batch_size: 2", "batch_size: 1", "because they ask for different 'compute' settings: make these equal"),
        ("threads: 1}", "threads: 3}", "the config says threads: 3, but a run with --cores 2 gives a job 2 at most"),
    ],
)
def test_a_run_that_must_not_be_deletes_nothing(tree: Tree, old: str, new: str, message: str) -> None:
    before = results(tree)
    (tree.root / "mine.yaml").write_text(replaced((tree.root / STUDY).read_text(), old, new, STUDY))
    run = tree.snakemake(study="mine.yaml")
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert message in " ".join(run.stdout.split()), run.stdout
    assert results(tree) == before
