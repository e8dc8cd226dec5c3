"""What a job's log tells while the job runs and afterwards: whether it lives, how far it is, what it said last."""

import fcntl
import os
import re
import shlex
from pathlib import Path

TAIL = 1 << 14
"""Bytes from the end of a log that are read."""


def running(log: Path) -> bool:
    """Whether the job that writes `log` is alive: then it holds a lock on it (see job.py), which dies with it."""
    try:
        with log.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no log, or a file system without locks
    return False


def command(log: Path) -> str:
    """The command that repeats the job; empty if it did not come so far."""
    with log.open(encoding="utf-8", errors="replace") as handle:
        first = handle.readline().strip()
    return first if first.startswith("PYTHONPATH=") else ""


def words(log: Path) -> list[str]:
    """The words of that command: all files of the job are among them."""
    return shlex.split(command(log))


def tail(log: Path, lines: int) -> list[str]:
    """The last lines, without the command."""
    with log.open("rb") as handle:
        handle.seek(max(0, os.fstat(handle.fileno()).st_size - TAIL))
        text = handle.read().decode("utf-8", errors="replace")
    said = [line for line in text.splitlines() if line.strip() and not line.startswith("PYTHONPATH=")]
    return said[-lines:]


def last_words(log: Path) -> str:
    """The last line that a job wrote before it stopped."""
    return next(iter(tail(log, 1)), "killed before it said anything")


def progress(log: Path) -> str:
    """How far a job is, as in 'block 3 of 30, 12.5 s, 113 s left'; empty if it has not said (see engine/progress)."""
    steps = re.findall(r"\w+ \d+ of \d+, .* left(?=:|$)", "\n".join(tail(log, 20)), re.MULTILINE)
    return steps[-1] if steps else ""
