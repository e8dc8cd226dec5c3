"""What `prunebench new` writes works as it is, and the contract tests find it by themselves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.registry import KINDS

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package with its contract tests, to be added to."""
    for name in ("workflow", "config", "tests/contract"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/tiny.py"):
        shutil.copy2(REPOSITORY / name, tmp_path / name)
    return tmp_path


def run(root: Path, *words: str) -> str:
    """The output of python with `words` in `root`."""
    environment = {**os.environ, "PYTHONPATH": str(root / "workflow")}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def prunebench(root: Path, *words: str) -> str:
    return run(root, "-c", "from prunebench.cli import app; app()", *words)


LEAST = {"method": 20, "allocator": 10, "suite": 2, "table": 5, "figure": 4, "family": 1}
"""How many contract tests find a new plug-in."""


@pytest.mark.parametrize(("kind", "folder"), KINDS.items())
def test_the_contract_tests_find_it_and_pass(copy: Path, kind: str, folder: str) -> None:
    made = prunebench(copy, "new", kind, "zeta_two")
    assert f"workflow/prunebench/{folder}/zeta_two.py: works as it is" in made
    (advice,) = (line for line in made.splitlines() if line.startswith("test it"))
    tests = run(copy, "-m", *advice.removeprefix("test it").split(), "-p", "no:cacheprovider")
    passed = re.search(r"(\d+) passed", tests)
    assert passed and int(passed[1]) >= LEAST[kind], tests
    if "look at it" in made:
        assert "ZetaTwo" in prunebench(copy, folder, "zeta_two")


def test_it_is_in_good_style(copy: Path) -> None:
    files = [f"workflow/prunebench/{folder}/zeta_two.py" for folder in KINDS.values()]
    for kind, file in zip(KINDS, files, strict=True):
        text = (copy / f"workflow/prunebench/choices/templates/{kind}.py").read_text()
        (copy / file).write_text(text.replace("Template", "ZetaTwo").replace("template", "zeta_two"))
    run(copy, "-m", "ruff", "check", *files)
    run(copy, "-m", "ruff", "format", "--check", *files)
    for file in files:
        assert "emplate" not in (copy / file).read_text()
