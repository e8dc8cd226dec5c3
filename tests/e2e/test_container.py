"""The container file, built where there is a builder."""

import shutil
import subprocess

import pytest

from documents import REPOSITORY


def builder() -> str | None:
    """Find a program that builds containers. Docker's is of no use without its service."""
    programs = filter(None, map(shutil.which, ("docker", "podman", "buildah")))
    return next((name for name in programs if not subprocess.run([name, "info"], capture_output=True).returncode), None)


@pytest.mark.wheel
def test_it_is_built_and_prunebench_runs_in_it() -> None:
    program = builder()
    if program is None:
        pytest.skip("no docker, podman or buildah that works")
    words = ["build", "--tag", "prunebench-test", "."]
    built = subprocess.run([program, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    if not program.endswith("buildah"):
        run = subprocess.run([program, "run", "--rm", "prunebench-test", "methods"], capture_output=True, text=True)
        assert run.returncode == 0 and "wanda" in run.stdout, run.stderr
