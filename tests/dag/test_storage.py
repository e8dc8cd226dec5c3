"""The tiny study without a shared file system: every job gets its declared inputs in a scratch directory, no more."""

import importlib.util
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dag.tree import STUDY, Tree
from prunebench.assets.carried import carry
from prunebench.assets.manifest import load_manifest
from prunebench.plan.plan import load_plan
from prunebench.results.place import among_results
from studies import grid

MADE = ("results", "logs", "benchmarks", "resources", ".snakemake")
MEASURED = ["prune_seconds", "prune_cpu_seconds", "peak_memory_mb"]
INSTALLED = importlib.util.find_spec("snakemake_storage_plugin_fs") and shutil.which("rsync")


def test_an_asset_moves_with_all_its_files(finished: Tree, tmp_path: Path) -> None:
    for name, inside in (("models/tiny", "model.safetensors"), ("corpora/text", "test.jsonl")):
        asset = tmp_path / name / "asset.json"
        shutil.copytree(finished.root / "resources" / name, asset.parent)
        before = load_manifest(asset)
        carry(asset, asset.parent / "files")
        elsewhere = shutil.copytree(asset.parent, tmp_path / "elsewhere" / name)
        for file in set(before.files) - {asset.name}:
            (asset.parent / file).unlink(missing_ok=True)  # a model from a path is not here anyway
        shutil.rmtree(asset.parent)
        moved = load_manifest(elsewhere / "asset.json")
        assert moved.directory == elsewhere / "files" and moved.digest == before.digest
        assert (moved.directory / inside).is_file()
        assert load_manifest(moved.directory / "asset.json").digest == before.digest
        assert json.loads((elsewhere / "asset.json").read_text())["directory"] == "files"


def test_results_are_read_where_their_table_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load_plan(grid({"method": "dense"}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "storage/results").mkdir(parents=True)
    for cells, directory in (("storage/results/cells.csv", "storage"), ("results/cells.csv", ""), ("my.csv", "")):
        with among_results(plan, Path(cells)):
            assert Path.cwd() == tmp_path / directory
        assert Path.cwd() == tmp_path


@pytest.mark.storage
@pytest.mark.skipif(not INSTALLED, reason="needs snakemake-storage-plugin-fs and rsync")
def test_a_study_in_a_storage_gives_the_same_numbers(finished: Tree, tmp_path: Path) -> None:
    tree = finished.copy(tmp_path / "tree")
    for name in MADE:
        shutil.rmtree(tree.root / name)
    storage, scratch = tmp_path / "storage", tmp_path / "scratch"
    for directory in (storage, scratch):
        directory.mkdir()
    words = ["python", "-m", "snakemake", "--cores", "2", "--configfile", STUDY, "--default-storage-provider", "fs"]
    words += ["--default-storage-prefix", str(storage), "--local-storage-prefix", str(scratch)]
    words += ["--shared-fs-usage", "none"]
    run = tree.run(*words)
    assert run.returncode == 0, run.stdout
    # Nothing lies where a job on another machine could not have found it.
    assert not any((tree.root / name).exists() for name in MADE if name != ".snakemake")
    first, second = (
        pd.read_csv(root / "results/of/tiny/cells.csv").drop(columns=MEASURED) for root in (finished.root, storage)
    )
    pd.testing.assert_frame_equal(first, second)
    table = "results/of/tiny/tables/tiny/perplexity.md"
    assert (storage / table).read_text() == (finished.root / table).read_text()
    assert (storage / "results/of/tiny/report/index.html").is_file()
    again = tree.run(*words)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout, again.stdout
