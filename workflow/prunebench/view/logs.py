"""Reads from the log of a job whether the job runs, how far it has come, and the last thing that it wrote."""

import fcntl
import os
import re
import shlex
from pathlib import Path

TAIL = 1 << 14
"""The number of bytes at the end of a log that are read."""


def running(log: Path) -> bool:
    """Whether the job that writes `log` runs. A job locks its log (runtime/script.py) until it ends."""
    try:
        with log.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is no log, or the file system has no locks
    return False


def command(log: Path) -> str:
    """The command that repeats the job. It is empty if the job stopped before it wrote the command."""
    with log.open(encoding="utf-8", errors="replace") as handle:
        first = handle.readline().strip()
    return first if first.startswith("PYTHONPATH=") else ""


def words(log: Path) -> list[str]:
    """The words of the command that repeats the job. All files of the job are among them."""
    return shlex.split(command(log))


def tail(log: Path, lines: int) -> list[str]:
    """The last `lines` lines of the log that are not empty, without the command."""
    with log.open("rb") as handle:
        handle.seek(max(0, os.fstat(handle.fileno()).st_size - TAIL))
        text = handle.read().decode("utf-8", errors="replace")
    said = [line for line in text.splitlines() if line.strip() and not line.startswith("PYTHONPATH=")]
    return said[-lines:]


def last_words(log: Path) -> str:
    """The last line that the job wrote before it stopped."""
    return next(iter(tail(log, 1)), "killed before it said anything")


def progress(log: Path) -> str:
    """The progress of the job, as in 'block 3 of 30, 12.5 s, 113 s left'; empty if the job has not logged any."""
    steps = re.findall(r"\w+ \d+ of \d+, .* left(?=:|$)", "\n".join(tail(log, 20)), re.MULTILINE)
    return steps[-1] if steps else ""
