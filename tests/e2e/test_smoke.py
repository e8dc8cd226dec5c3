"""The smoke study, for real: downloads the default model and text, runs every rule, reads the table as a user would."""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy of the workflow, run once."""
    root = tmp_path_factory.mktemp("smoke")
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, root)
    for name in ("rules", "workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def snakemake(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the smoke study; stdout and stderr are one text, in the order of printing."""
    # Targets before --configfile, which would swallow them.
    command = ["snakemake", *arguments, "--cores", "all", "--configfile", "config/studies/smoke.yaml"]
    # Jobs begin warm; those of test_hub_study.py do not.
    path = os.pathsep.join([str(warm.directory()), os.environ["PATH"]])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": path}
    return subprocess.run(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


@pytest.mark.slow
def test_the_smoke_study_from_nothing(workdir: Path) -> None:
    run = snakemake(workdir)
    printed = run.stdout
    assert run.returncode == 0, printed
    # Each evaluation prints its headline as it finishes, the tables come last.
    assert printed.count(": perplexity c4_type") == 9 and printed.count(": accuracy mean") == 1
    last = printed[printed.rindex(": perplexity c4_type") :]
    assert "9 of 9 cells." in last and "1 of 1 cells." in last, "the tables are the last thing printed"
    with (workdir / "results/of/config/studies/smoke/cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"ok"}
    tasks = {row["task"] for row in rows if row["metric"] == "acc"}
    assert tasks == {"boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa", "mean"}
    perplexities = [row for row in rows if row["metric"] == "perplexity"]
    value = {(row["method"], row["pattern"], row["task"]): float(row["value"]) for row in perplexities}
    assert len(value) == len(perplexities) == 18
    for task in ("c4_type", "wikipedia"):
        dense, wanda = value["dense", "unstructured", task], value["wanda", "unstructured", task]
        assert dense < wanda < value["magnitude", "unstructured", task]
        assert wanda < value["wanda", "2of4", task]
        assert value["random", "unstructured", task] > wanda
    tables = workdir / "results/of/config/studies/smoke/tables/smoke"
    assert sorted(path.suffix for path in tables.iterdir()) == sorted(2 * [".csv", ".html", ".md", ".tex"])
    first = next(workdir.glob("logs/prune/smollm2_135m/wanda/**/*.log")).read_text().splitlines()[0]
    assert "-m prunebench.stages prune --spec" in first
    record = json.loads(next(workdir.glob("results/pruned/smollm2_135m/dense/**/prune.json")).read_text())
    assert record["already_zero"] == 33_483, "exact zeros of the 4-bit source, counted and reported"


@pytest.mark.slow
def test_a_second_run_does_nothing(workdir: Path) -> None:
    run = snakemake(workdir)
    assert "Nothing to be done" in run.stdout
    strict = snakemake(workdir, "strict")
    assert strict.returncode == 0, strict.stdout


@pytest.mark.slow
def test_a_cell_can_be_repeated_by_pasting_the_first_line_of_its_log(workdir: Path) -> None:
    log = next(workdir.glob("logs/prune/smollm2_135m/wanda/uniform/2of4/*.log"))
    weights = next(workdir.glob("results/pruned/smollm2_135m/wanda/uniform/2of4/*/weights.safetensors"))
    before = weights.read_bytes()
    run = subprocess.run(["bash", "-c", log.read_text().splitlines()[0]], cwd=workdir, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert weights.read_bytes() == before
