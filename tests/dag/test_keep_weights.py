"""The setting keep_weights decides which weights stay after a run, and how much the next run computes again."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_failures import rows

from dag.tiny_study import CALIBRATED, CELLS, evaluated, pruned, tables
from dag.tree import STUDY, Tree
from prunebench.storage.packing import bitmask
from prunebench.storage.tensors import PackedStore, TensorStore


def keep(tree: Tree, what: str) -> None:
    tree.edit(STUDY, "compute:", f"keep_weights: {what}\ncompute:")


def files(tree: Tree, name: str) -> list[Path]:
    return sorted(tree.root.glob(f"results/pruned/**/{name}.safetensors"))


@pytest.mark.parametrize("what", ["packed", "none"])
def test_the_setting_alone_runs_nothing(tree: Tree, what: str) -> None:
    keep(tree, what)
    assert tree.planned() == set()


def test_none_deletes_weights_after_use_and_prunes_again_for_another_suite(tree: Tree) -> None:
    keep(tree, "none")
    tree.edit(STUDY, "rounding: nearest", "rounding: down")
    run = tree.snakemake()
    assert run.returncode == 0, run.stdout
    # Those of the other cells are from before, and nothing ran for them.
    assert ["wanda" in path.parts for path in files(tree, "weights")] == [False] * (len(CELLS) - len(CALIBRATED))
    assert [row["status"] for row in rows(tree)] == ["ok"] * 4 + ["failed"]
    assert tree.planned() == set()
    tree.edit(STUDY, "suites: [ppl_tiny]", "suites: [ppl_tiny, ppl_tiny_long]")
    again = pruned(*CALIBRATED) | evaluated(*CALIBRATED)
    assert tree.planned() == again | evaluated(*CELLS, suite="ppl_tiny_long") | tables()


def test_mask_keeps_which_weights_are_zero(tree: Tree) -> None:
    base = TensorStore(tree.root / "assets/tiny", torch.bfloat16)
    expected = {
        path.parent: {f"{name}.mask": bitmask(weight) for name, weight in PackedStore(path, base).items()}
        for path in files(tree, "weights")
    }
    keep(tree, "mask")
    assert tree.planned() == {f"keep_masks {cell}" for cell in CELLS} | {"all"}
    run = tree.snakemake()
    assert run.returncode == 0, run.stdout
    assert files(tree, "weights") == []
    found = {path.parent: load_file(path) for path in files(tree, "masks")}
    assert sorted(map(len, found.values())) == [0, 0, 14, 14, 14]
    assert found.keys() == expected.keys()
    for cell, masks in found.items():
        assert masks.keys() == expected[cell].keys()
        assert all(torch.equal(mask, expected[cell][name]) for name, mask in masks.items())
    assert tree.planned() == set()
