"""Every command in a directory that is no project: it works, or says in one line what it needs."""

import os
import shutil
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
        ["plan"],
        ["gc"],
        ["gc", "--yes"],
        ["retry", "--failed"],
        ["new", "method", "mine"],
        ["new", "allocator", "mine"],
        ["methods", "--configfile", "other.yaml"],
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_project(tmp_path: Path, words: list[str]) -> None:
    line = one_line(typed(tmp_path, *words))
    file = "other.yaml" if "--configfile" in words else "config/config.yaml"
    assert (
        f"there is no {tmp_path / file}: this command needs a project, which is a copy of prunebench's repository;"
        in line
    )
    assert not list(tmp_path.iterdir())


def test_an_export_needs_cells(tmp_path: Path) -> None:
    line = one_line(typed(tmp_path, "export", "tiny/wanda", "out"))
    assert f"there is none under {tmp_path / 'results/pruned'}. Run this where snakemake ran" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods", "wandaa"], "unknown method 'wandaa': did you mean 'wanda'?"),
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


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package without its repository, as a wheel installs it."""
    place = tmp_path_factory.mktemp("lib") / "python/site-packages"
    shutil.copytree(WORKFLOW / "prunebench", place / "prunebench", ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.mark.parametrize("kind", ["methods", "allocators", "suites", "models"])
def test_a_package_without_a_repository_lists_its_plug_ins(tmp_path: Path, installed: Path, kind: str) -> None:
    run = typed(tmp_path, kind, package=installed)
    assert run.returncode == 0, run.stderr
    assert {"methods": "wanda", "allocators": "owl", "suites": "lm_eval", "models": "name"}[kind] in run.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [("doctor", "is no copy of prunebench's repository"), ("accept", "is not in a git repository")],
)
def test_a_package_without_a_repository_says_so(tmp_path: Path, installed: Path, words: str, message: str) -> None:
    run = typed(tmp_path, words, package=installed)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert message in run.stderr
