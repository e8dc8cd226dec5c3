"""Every command in a directory that is no project: it works, or says in one line what it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parents[2] / "workflow"


def typed(directory: Path, *words: str, package: Path = WORKFLOW) -> subprocess.CompletedProcess[str]:
    """Run a command in `directory`."""
    environment = {**os.environ, "PYTHONPATH": str(package), "COLUMNS": "200", "PRUNEBENCH_CACHE": str(directory)}
    command = [sys.executable, "-c", "from prunebench.cli import app; app()", *words]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    """The error that a command ends with."""
    assert run.returncode == 1, run.stdout
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["methods"], ["wanda", "sparsegpt", "There is no config/config.yaml here: these come with the package."]),
        (["methods", "wanda"], ["Sun et al. 2024", "wanda_released"]),
        (["allocators"], ["uniform", "owl"]),
        (["allocators", "owl"], ["OWL"]),
        (["suites"], ["ppl", "zeroshot7"]),
        (["suites", "zeroshot7"], ["lm_eval"]),
        (["models"], ["smollm2_135m"]),
        (["models", "smollm2_135m"], ["family: llama"]),
        (["plan"], ["quickstart", "models/smollm2_135m"]),
        (["plan", "--configfile", "config/studies/smoke.yaml"], ["smoke"]),
        (["doctor"], ["python", "packages"]),
    ],
    ids=" ".join,
)
def test_a_command_that_works(tmp_path: Path, words: list[str], shown: list[str]) -> None:
    run = typed(tmp_path, *words)
    assert "Traceback" not in run.stderr
    assert words == ["doctor"] or run.returncode == 0, run.stderr
    assert all(text in run.stdout for text in shown), run.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["status", "--json"],
        ["show", "tiny/wanda"],
        ["collect"],
        ["gc"],
        ["gc", "--yes"],
        ["retry"],
        ["methods", "--configfile", "other.yaml"],
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_project(tmp_path: Path, words: list[str]) -> None:
    line = one_line(typed(tmp_path, *words))
    file = "other.yaml" if "--configfile" in words else "config/config.yaml"
    assert f"there is no {tmp_path / file}: " in line and "run" in line and "where you run snakemake" in line
    assert not list(tmp_path.iterdir())


def test_an_export_needs_cells(tmp_path: Path) -> None:
    line = one_line(typed(tmp_path, "export", "tiny/wanda", "out"))
    assert f"there is none under {tmp_path / 'results/pruned'}. Run this where snakemake ran" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods", "wandaa"], "unknown method 'wandaa': did you mean 'wanda'?"),
        (["methods", "SparseGPT"], "unknown method 'SparseGPT': did you mean 'sparsegpt'?"),
        (["corpora", "wiki"], "unknown corpus 'wiki': did you mean 'wikipedia' or 'wikitext2'?"),
        (["models", "smollm2"], "unknown model 'smollm2': did you mean 'smollm2_135m'?"),
        (
            ["prune", "nothing", "--out", "o", "--sparsity", "0.5", "--method", "wanda"],
            "neither a directory nor a model",
        ),
        (["ppl", "nothing", "--corpus", "wikipedia"], "neither a directory nor a model"),
        (["eval", "nothing"], "neither a directory nor a model"),
        (["compare", "nothing", "nowhere"], "neither a directory nor a model"),
        (["search", "nothing", "--sparsity", "0.5"], "neither a directory nor a model"),
        (["accept", "--base", "no-such-revision"], "unknown git revision 'no-such-revision'"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_as_in_a_project(tmp_path: Path, words: list[str], message: str) -> None:
    run = typed(tmp_path, *words)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert message in run.stderr
    assert not list(tmp_path.iterdir())
