"""Keeps a record of each run of snakemake here, so that the locks of a killed run are told from those of a living one.

Snakemake's own locks name files, not the process that holds them.
"""

import time
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.storage.locks import in_turn, own
from prunebench.upkeep.locks import LOCKS
from prunebench.view.recorded import RUNS, own_record, records, run_of
from prunebench.view.states import running_jobs

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
        _begun.append(own(own_record()))
    return advice


def unlock(force: bool = False) -> bool:
    """Remove Snakemake's locks on this directory, and return whether there were any.

    Raises PrunebenchError if a run that may hold them lives, or, without `force`, if nobody can know whether one does.
    """
    locked = any(LOCKS.glob("*.lock"))
    runs = records()
    if locked and runs.alive:
        raise PrunebenchError(f"snakemake runs here, as {run_of(runs.alive[0])}: wait for it or stop it")
    if locked and not force and not runs.all_dead:
        who = f" by {run_of(runs.unknown[0])}" if runs.unknown else ""
        raise PrunebenchError(
            f"{LOCKS} is locked{who}, and whether that run lives cannot be seen from this machine: "
            "if it has ended, run prunebench unlock --yes"
        )
    if locked:
        while running_jobs():
            time.sleep(WAIT)
        for file in LOCKS.glob("*.lock"):
            file.unlink(missing_ok=True)
    for record in [*runs.dead, *(runs.unknown if locked else ())]:
        record.unlink(missing_ok=True)
    return locked
