"""The package as a wheel installs it, laid out in a folder in a second: without kernels, which need a compiler."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def lay_out(folder: Path) -> Path:
    """Write the files of a wheel below `folder`, and return the directory that goes on PYTHONPATH."""
    place, build = folder / "site-packages", folder / "build"
    options = ["--build-lib", str(place)]
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(build), "build_py", *options]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return place


def python(place: Path, directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `directory` with the package in `place` alone; stdout and stderr are one text."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {"PYTHONPATH": str(place), "PATH": path, "COLUMNS": "200", "PRUNEBENCH_CACHE": str(directory / "cache")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=directory,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **settings, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def prunebench(place: Path, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of prunebench in `directory` with the package in `place`."""
    return python(place, directory, "-c", "from prunebench.cli import app; app()", *words)
