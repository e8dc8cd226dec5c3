"""Reads the records of runs of snakemake here, and sorts them by whether their run lives.

A record is a file in RUNS that its process holds by a kernel lock, which ends with the process. Its name has the boot
of the machine, because kernel locks say nothing about the processes of another machine.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from prunebench.storage.locks import holder
from prunebench.view import logs

RUNS = Path(".snakemake/prunebench/runs")
BOOT = Path("/proc/sys/kernel/random/boot_id")
SILENT = 300.0
"""The seconds after which a job that has not said anything does not count as starting any more."""


@dataclass(frozen=True)
class Records:
    """The lock files of all records."""

    alive: tuple[Path, ...]
    dead: tuple[Path, ...]
    unknown: tuple[Path, ...]
    """The records of another boot or machine."""

    @property
    def all_dead(self) -> bool:
        """Whether there are records, and every run that they know is certainly dead."""
        return bool(self.dead) and not self.alive and not self.unknown


def own_record() -> Path:
    """Name the record of this process as a run."""
    return RUNS / f"{_boot()}-{os.getpid()}"


def records() -> Records:
    """Sort the records of all runs here."""
    files = sorted(RUNS.glob(".*.lock"))
    near = [file for file in files if file.name.startswith(f".{_boot()}-")]
    alive = [file for file in near if logs.running(file)]
    dead = [file for file in near if file not in alive]
    return Records(tuple(alive), tuple(dead), tuple(file for file in files if file not in near))


def run_of(record: Path) -> str:
    """The run that has the lock file `record`, in words."""
    return holder(record.with_name(record.name.removeprefix(".").removesuffix(".lock")))


def is_starting(log: Path) -> bool:
    """Whether a living run has begun a job that has not said anything yet: Python takes seconds to start.

    The shell makes the empty `log`, and the job locks it and writes to it after its imports. A job that is silent for
    longer than SILENT was killed before its first word.
    """
    try:
        status = log.stat()
    except OSError:
        return False
    silent = status.st_size == 0 and time.time() - status.st_mtime < SILENT
    return silent and any(_begun(record) <= status.st_mtime for record in records().alive)


def _begun(record: Path) -> float:
    """The time at which a run began; without a record it has just ended."""
    try:
        return record.stat().st_mtime
    except OSError:
        return float("inf")


def _boot() -> str:
    """The identity of this start of this machine; a constant where the kernel tells none."""
    return BOOT.read_text(encoding="utf-8").strip() if BOOT.exists() else "boot"
