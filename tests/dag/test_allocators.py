"""An allocator that runs the model gets what a prune gets: tokens, threads, and a plan that knows what it rests on."""

import json

from dag.tree import STUDY, Tree

ALLOCATE = "allocate tiny besa unstructured-s0.50 text_4x16 0"
CELL = "tiny magnitude besa unstructured-s0.50 text_4x16 0"
SHARES = "results/allocations/tiny/besa/unstructured-s0.50/text_4x16-seed0.json"
ROW = "      - {model: tiny, method: magnitude, allocator: besa, sparsity: 0.5}\n"


def test_an_allocator_that_runs_the_model(tree: Tree) -> None:
    tree.edit(STUDY, "    grid:\n", f"    grid:\n{ROW}")
    planned = tree.planned()
    assert {ALLOCATE, f"prune {CELL}"} <= planned
    # The tokens are those of the calibrated methods, and are there.
    assert not {job for job in planned if job.startswith(("profile", "calibrate", "fetch"))}
    (tree.root / "results/calibration/tiny/text_4x16-seed0.npy").unlink()
    assert "calibrate tiny text_4x16 0" in tree.planned()
    run = tree.snakemake(SHARES)
    assert run.returncode == 0, run.stdout
    made = json.loads((tree.root / SHARES).read_text())
    assert made["status"] == "ok" and len({*made["sparsities"].values()}) > 1
    log = (tree.root / "logs/allocate/tiny/besa/unstructured-s0.50/text_4x16-seed0.log").read_text()
    assert "block 2 of 2" in log
    assert ALLOCATE not in tree.planned()
    tree.edit(STUDY, "batch_size: 2", "batch_size: 3")
    assert ALLOCATE in tree.planned()
