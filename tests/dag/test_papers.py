"""The studies of the papers, and our own: as many cells as their tables have, and snakemake plans them."""

from itertools import product
from pathlib import Path

import pytest

from dag.tree import Tree
from prunebench.plan import graph
from prunebench.plan.plan import Plan, read_plan
from prunebench.published.match import matches

REPOSITORY = Path(__file__).parents[2]
STUDIES = REPOSITORY / "config/studies"

# SparseLLM: dense, and magnitude, which draws no calibration, at three sparsities and 1of4; the three other methods at
# all four for each seed.
OPT = 5 * (1 + 4 + 3 * 4 * 3) + 2 * (1 + 4 + 3 * 4)
# DSA at one sparsity: magnitude, Wanda and SparseGPT, uniform and with DSA; magnitude with DSA draws a calibration.
THREE_SEEDS, ONE_SEED = 1 + 3 + 2 * 2 * 3, 1 + 1 + 2 * 2
CELLS = {
    "sparsellm_table1": OPT,
    "sparsellm_table2": 3 * (1 + 4 + 3 * 4 * 3),
    "sparsellm_nm": 2 * (1 + 2 + 3 * 2 * 3),
    "sparsellm_zeroshot": 3 * (1 + 4 + 3 * 4),
    "sparsellm_figure3": 2 * (1 + 3 * 3),
    "sparsellm_figure5": 2 * (1 + 3 * 6 * 3),
    "sparsellm_runtime": 3 * 4,
    "dsa_table2": 7 * (1 + THREE_SEEDS) + 4 * (1 + ONE_SEED),
    "dsa_table3": 4 * (1 + 2 * THREE_SEEDS) + (1 + 2 * ONE_SEED),
    "dsa_table4": 1 + 7 * 4 * 3,
    "dsa_tasks": 1 + THREE_SEEDS,
    "dsa_figure3": 1 + 4,
    "dsa_table10": 1 + 6,
    "dsa_figure1": 1 + 3 * 8,
    "dsa_llava": 2 * (4 + 1),
    "dsa_vicuna": 2 * (1 + 5 * (1 + 3 * 3)),
}
FILES = sorted(
    path.name
    for path in STUDIES.glob("*.yaml")
    if path.name.startswith(("sparsellm-", "dsa-")) and "mini" not in path.name and "tuning" not in path.name
)

OURS = {
    "smoke": 9,
    "quickstart_full": 100,
    "recommended": 17,
    "rounding": 21,
    "sparsellm_tuning": 7,
    "sparsellm_mini": 236,
    "sparsellm_mini_calibration": 21,
    # Two solvers at four sparsities and two patterns, with three seeds.
    "beyond_mini": 1 + 2 * 6 * 3 + 6,
    # Nine solvers at six points on two models, and with another allocator at one; magnitude looks at no text but there.
    "beyond_mini_methods": 329,
    "beyond_mini_parts": 15,
    "beyond_mini_tasks": 9,
    "beyond_mini_tokens": 19,
    "beyond_mini_written": 1 + 2 * 4 * 3,
    # Eleven allocators at three sparsities, and at one of them with two more seeds.
    "dsa_mini": 1 + 11 * 3 + 11 * 2,
    # Uniform magnitude draws no calibration.
    "dsa_mini_gain": 1 + 2 * 3 + 2 * 3 * 3,
    "dsa_mini_seeds": 6 * 3,
    "dsa_mini_agreement": 10,
}
"""Studies of ours, on models that packages ship or that are trained here."""
OTHERS = sorted({path.name for path in STUDIES.glob("*.yaml")} - {*FILES})

PLANNED = ("dsa-search.yaml", "dsa-tasks.yaml", "sparsellm-mini.yaml")
"""Searches, all kinds of suites, models that are trained here: plans that `make test` makes; make test-studies, all."""


def read(file: str) -> Plan:
    return read_plan(STUDIES / file)


@pytest.mark.parametrize(("files", "cells"), [(FILES, CELLS), (OTHERS, OURS)], ids=["papers", "ours"])
def test_every_study_has_the_cells_of_its_table(
    files: list[str], cells: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    studies = {name: study for file in files for name, study in read(file).studies.items()}
    assert {name: len(study.cells) for name, study in studies.items()} == cells
    assert {name: study.skipped for name, study in studies.items() if study.skipped} == {}


def test_perplexities_of_sparsellm_are_of_the_first_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for file in ("sparsellm-table1.yaml", "sparsellm-table2.yaml", "sparsellm-zeroshot.yaml", "sparsellm-figure5.yaml"):
        plan = read(file)
        allocators = {cell.allocator for cell in plan.cells if cell.method != "dense"}
        assert {plan.config.allocators[name].layers for name in allocators} == {"first_half"}, file


def test_the_study_of_llava_is_the_table_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = read("dsa-llava.yaml")
    (study,) = plan.studies.values()
    assert study.all_suites == ("vqav2", "scienceqa", "textvqa_ocr")
    methods = {("wanda", "dsa"), *product(("dense", "magnitude", "sparsegpt", "wanda"), ("uniform",))}
    for model in ("llava_1_5_7b", "llava_1_5_13b"):
        assert {(cell.method, cell.allocator) for cell in study.cells if cell.model == model} == methods
    compared = {
        match.task: match
        for suite, cell in product(study.all_suites, study.cells)
        for match in matches(plan.config, cell, suite)
    }
    assert {task: match.value.value for task, match in compared.items()} == {
        "vqav2": 0.7608,
        "scienceqa": 0.6557,
        "textvqa_ocr": 0.5436,
    }
    assert compared["scienceqa"].differences == ()
    assert compared["vqav2"].differences == ("split test-dev, here validation",)
    assert "assumed" in compared["textvqa_ocr"].differences[0]


@pytest.mark.parametrize("file", FILES)
def test_all_protocols_are_those_of_the_papers(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = read(file)
    sizes = {cell.calibration.partition("_")[2] for cell in plan.cells if cell.calibrated}
    assert all(size.endswith("x2048") for size in sizes)
    assert file == "sparsellm-figure5.yaml" or sizes == {"128x2048"}
    for of in plan.studies.values():
        for suite in of.all_suites:
            params = plan.config.suites[suite].params
            assert params.get("seqlen", 2048) == 2048 and not params.get("limit")


def planned(file: str, tree: Tree) -> None:
    """A dry run of snakemake finds the jobs that the package counts."""
    run = tree.snakemake("--dry-run", "--quiet", "rules", study=f"config/studies/{file}")
    assert run.returncode == 0, run.stdout
    jobs = [job for job in graph.jobs(read(file)) if job.rule != "strict"]
    assert f"total {len(jobs) + 1:>12}".split() in [line.split() for line in run.stdout.splitlines()], run.stdout


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[] if file in PLANNED else [pytest.mark.slow, pytest.mark.studies])
        for file in [*FILES, *OTHERS]
    ],
)
def test_snakemake_plans_a_study(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    planned(file, Tree.create(tmp_path))
