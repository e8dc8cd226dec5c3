"""The container file, built where there is a builder."""

import shutil
import subprocess

import pytest

from documents import REPOSITORY

BUILDER = next(filter(None, map(shutil.which, ("docker", "podman", "buildah"))), None)


@pytest.mark.wheel
@pytest.mark.skipif(not BUILDER, reason="no docker, podman or buildah")
def test_it_is_built_and_prunebench_runs_in_it() -> None:
    words = ["build", "--tag", "prunebench-test", "."]
    built = subprocess.run([str(BUILDER), *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    if not str(BUILDER).endswith("buildah"):
        run = subprocess.run(
            [str(BUILDER), "run", "--rm", "prunebench-test", "methods"], capture_output=True, text=True
        )
        assert run.returncode == 0 and "wanda" in run.stdout, run.stderr
