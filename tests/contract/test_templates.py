"""What `prunebench new` writes works as it is, and the contract tests find it by themselves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("kind", "least"), [("method", 20), ("allocator", 10)])
def test_the_contract_tests_find_it_and_pass(copy: Path, kind: str, least: int) -> None:
    made = prunebench(copy, "new", kind, "zeta_two")
    assert f"workflow/prunebench/{kind}s/zeta_two.py: works as it is" in made
    (advice,) = (line for line in made.splitlines() if line.startswith("test it"))
    tests = run(copy, "-m", *advice.removeprefix("test it").split(), "-p", "no:cacheprovider")
    passed = re.search(r"(\d+) passed", tests)
    assert passed and int(passed[1]) >= least, tests
    assert "ZetaTwo" in prunebench(copy, f"{kind}s", "zeta_two")


def test_it_is_in_good_style(copy: Path) -> None:
    for kind in ("method", "allocator"):
        prunebench(copy, "new", kind, "zeta_two")
    files = [f"workflow/prunebench/{kind}/zeta_two.py" for kind in ("methods", "allocators")]
    run(copy, "-m", "ruff", "check", *files)
    run(copy, "-m", "ruff", "format", "--check", *files)
    for file in files:
        assert "emplate" not in (copy / file).read_text()
