"""The timed commands. Snakemake starts our jobs as the DAG has them; plain.py runs the plain ones.

All paths are relative to the repository, which must be the working directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.runtime.script import THREAD_VARIABLES
from prunebench.storage.files import read_json

STUDIES = "benches/study.yaml"
THREADS = 1
"""The number of threads, which equals `compute.threads` in study.yaml."""
SNAKEMAKE = ("-m", "snakemake", "--cores", str(THREADS), "--configfile", STUDIES)


@dataclass(frozen=True)
class Job:
    """A command, the file in which it leaves its result, and the one in which it says what it cost."""

    command: tuple[str, ...]
    result: Path
    measured: Path

    def run(self) -> dict[str, Any]:
        """Run the command; returns what `Measurement` wrote, without the start of Python and Snakemake.

        Raises RuntimeError with the output if the command fails, or its cell failed.
        """
        python(*self.command)
        result = read_json(self.result) if self.result.suffix == ".json" else {}
        if result.get("status", "ok") != "ok":
            raise RuntimeError(f"{self.result}: {result['reason']}")
        record: dict[str, Any] = read_json(self.measured)
        return record


def ours(result: str, measured: str) -> Job:
    """Make the job of the DAG that writes `result`, and that runs whether or not the file exists."""
    return Job((*SNAKEMAKE, "--force", "--", result), Path(result), Path(measured))


def plain(job: str, result: Path, **options: object) -> Job:
    """Make a job of plain.py; the value of an option may be a list."""
    measured = result.with_suffix(".measured.json")
    words = [job]
    for name, value in {**options, "result": result, "measured": measured}.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return Job(("-m", "benches.plain", *words), result, measured)


def prepare(targets: list[str]) -> None:
    """Have the DAG make the files that the timed jobs read."""
    python(*SNAKEMAKE, "--", *targets)


def python(*command: str) -> None:
    """Run Python with `command`. Raises RuntimeError with the output if it fails."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(THREADS)), "PYTHONPATH": "workflow"}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
