"""Work for which a disk has too little room is refused before it starts, by a workflow and by single commands."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiny
from dag.tree import Tree
from prunebench.cli import app

Usage = namedtuple("Usage", "total used free")


def weights(tree: Tree) -> dict[Path, int]:
    """The files of pruned weights, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in (tree.root / "results").glob("pruned/**/weights.safetensors")}


def test_a_study_that_is_larger_than_the_disk_runs_nothing(tree: Tree) -> None:
    file = tree.root / "assets/tiny/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "intermediate_size": 10**13}))
    before = weights(tree)
    run = tree.snakemake("--omit-from", "report")
    assert run.returncode != 0
    assert "has too little room" in run.stdout and "pruned weights" in run.stdout, run.stdout
    assert "Traceback" not in run.stdout, run.stdout
    assert weights(tree) == before, "it pruned"
    assert "Nothing to be done" not in run.stdout


def test_one_model_that_is_larger_than_the_disk_is_not_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.make_model(tmp_path / "model")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, 5000))
    words = ["prune", str(model), "--method", "magnitude", "--sparsity", "0.5", "--out", str(tmp_path / "out")]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 1
    assert f"the disk of {tmp_path}/.out.prune.part has too little room: 5.0 kB are free" in run.output
    assert "the pruned model" in run.output
    assert not (tmp_path / "out").exists()
