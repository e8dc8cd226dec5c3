"""Tests of the limit of GPUs, on machines without GPUs and on machines whose GPUs are files."""

import json
import re
from pathlib import Path

import pytest

from dag.tree import Tree
from prunebench.plan import paths

CORPUS = paths.CORPUS.format(corpus="text")
WARNING = "This profile sets no limit for GPUs"
SIZES = dict.fromkeys(("num_hidden_layers", "num_attention_heads"), 1)
SIZES |= dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 8)
NO_PROFILE = ("--workflow-profile", "none")


@pytest.fixture
def fresh(tmp_path: Path) -> Tree:
    """The workflow with text, and with models of which only the sizes are there."""
    tree = Tree.create(tmp_path)
    for model in ("tiny", "broken"):
        (tmp_path / "assets" / model).mkdir(parents=True)
        (tmp_path / "assets" / model / "config.json").write_text(json.dumps(SIZES))
    (tmp_path / "assets/text.txt").write_text("A line of text.\n" * 100)
    tree.edit("workflow/prunebench/runtime/gpus.py", 'DEVICES = Path("/dev")', 'DEVICES = Path("devices")')
    (tmp_path / "devices").mkdir()
    return tree


def gpus(tree: Tree, *arguments: str) -> set[tuple[str, str]]:
    """(rule, GPUs) of all jobs of a dry run that have that resource."""
    run = tree.snakemake("--dry-run", *arguments)
    assert run.returncode == 0, run.stdout
    return set(re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    resources: .*\bgpu=(\d+)", run.stdout, re.M))


def test_a_machine_without_gpus_is_not_asked_for_any(fresh: Tree) -> None:
    assert gpus(fresh) == {("calibrate", "0"), ("allocate", "0"), ("prune", "0"), ("evaluate", "0")}


def test_a_machine_with_gpus_is_asked_for_one_per_job_that_computes(fresh: Tree) -> None:
    (fresh.root / "devices/nvidia0").touch()
    assert gpus(fresh) == {("calibrate", "0"), ("allocate", "0"), ("prune", "1"), ("evaluate", "1")}


def test_jobs_that_go_elsewhere_ask_although_there_is_none_here(fresh: Tree) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install -e '.[slurm]'")
    slurm = ("--executor", "slurm", "--jobs", "2", *NO_PROFILE)
    assert gpus(fresh, *slurm) == {("calibrate", "0"), ("allocate", "0"), ("prune", "1"), ("evaluate", "1")}


def test_a_profile_without_a_limit_is_told_what_to_add(fresh: Tree) -> None:
    run = fresh.snakemake(CORPUS, *NO_PROFILE)
    assert run.returncode == 0 and WARNING not in run.stdout, "without GPUs none is needed"
    (fresh.root / "devices/nvidia0").touch()
    run = fresh.snakemake(CORPUS, "--forcerun", CORPUS, *NO_PROFILE)
    assert run.returncode == 0 and WARNING in run.stdout and "resources:\n  gpu: 2" in run.stdout
    run = fresh.snakemake(CORPUS, "--forcerun", CORPUS)
    assert run.returncode == 0 and WARNING not in run.stdout, "profiles/default has one"
