"""Keeps a record of each run of snakemake here, so that the locks of a killed run are told from those of a living one.

Snakemake's own locks name files, not the process that holds them. A record is a file in RUNS that its process holds by
a kernel lock, which ends with the process. Its name has the boot of the machine, because kernel locks say nothing about
the processes of another machine.
"""

import os
import time
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.storage.locks import holder, in_turn, lock, own
from prunebench.upkeep.locks import LOCKS
from prunebench.view.states import running_jobs

RUNS = Path(".snakemake/prunebench/runs")
BOOT = Path("/proc/sys/kernel/random/boot_id")
WAIT = 0.5
"""The seconds between two looks at the jobs that a killed run has left."""


_begun: list[Path] = []
"""The record of this process, once it has one."""


def begun() -> bool:
    """Whether this process is recorded as a run of snakemake."""
    return bool(_begun)


def begin() -> str:
    """Record this process as a run of snakemake, and remove the locks of runs that are certainly dead.

    Waits for jobs that outlive their killed snakemake. Returns what the user should know of other runs, or "".
    """
    with in_turn(RUNS.with_name("turn"), "the record of runs"):
        advice = ""
        try:
            unlock()
        except PrunebenchError as error:
            advice = str(error)
        _begun.append(own(RUNS / f"{_boot()}-{os.getpid()}"))
    return advice


def unlock(force: bool = False) -> bool:
    """Remove Snakemake's locks on this directory, and return whether there were any.

    Raises PrunebenchError if a run that may hold them lives, or, without `force`, if nobody can know whether one does.
    """
    locked = any(LOCKS.glob("*.lock"))
    records = sorted(RUNS.glob(".*.lock"))
    dead = [record for record in records if record.name.startswith(f".{_boot()}-") and _is_free(record)]
    unknown = [record for record in records if not record.name.startswith(f".{_boot()}-")]
    alive = [record for record in records if record not in (*dead, *unknown)]
    if locked and alive:
        raise PrunebenchError(f"snakemake runs here, as {_holder(alive[0])}: wait for it or stop it")
    if locked and not force and (unknown or not dead):
        who = f" by {_holder(unknown[0])}" if unknown else ""
        raise PrunebenchError(
            f"{LOCKS} is locked{who}, and whether that run lives cannot be seen from this machine: "
            "if it has ended, run prunebench unlock --yes"
        )
    if locked:
        while running_jobs():
            time.sleep(WAIT)
        for file in LOCKS.glob("*.lock"):
            file.unlink(missing_ok=True)
    for record in [*dead, *(unknown if locked else [])]:
        record.unlink(missing_ok=True)
    return locked


def _is_free(record: Path) -> bool:
    """Whether no process holds the kernel lock of `record`."""
    try:
        with record.open("r+b") as file:
            return lock(file.fileno())
    except FileNotFoundError:
        return True


def _holder(record: Path) -> str:
    return holder(record.with_name(record.name.removeprefix(".").removesuffix(".lock")))


def _boot() -> str:
    """The identity of this start of this machine; a constant where the kernel tells none."""
    return BOOT.read_text(encoding="utf-8").strip() if BOOT.exists() else "boot"
