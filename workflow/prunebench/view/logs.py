"""Reads from a job's log whether the job runs, how far it is, its command, and its last lines."""

import fcntl
import json
import os
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

from prunebench.names import visible

TAIL = 1 << 14
"""The number of bytes at the end of a log that are read."""


def running(log: Path) -> bool:
    """Whether the job that writes `log` runs. It holds a lock on its log, which ends with the job."""
    try:
        with log.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is no log, or the file system has no locks
    return False


def command(log: Path) -> str:
    """The command that repeats the job; empty if the job has not written the command, or the log is gone or damaged."""
    try:
        with log.open(encoding="utf-8", errors="replace") as handle:
            first = handle.readline()
    except OSError:
        return ""
    return first.strip() if first.startswith("PYTHONPATH=") and first.endswith("\n") else ""


def words(log: Path) -> list[str]:
    """The words of the command that repeats the job. All files of the job are among them."""
    try:
        return shlex.split(command(log))
    except ValueError:  # a quotation mark that nothing closes
        return []


def is_of(log: Path, spec: str) -> bool:
    """Whether the job that wrote `log` had the settings of `spec`; also true if the log does not tell them.

    Jobs of two configs, or of one before and after an edit, write one log if the names of their cells are alike. Code
    is no setting: a job that crashed is still the job to run again after its code was mended.
    """
    before = dict(pairwise(words(log))).get("--spec")
    try:
        return before is None or _settings(before) == _settings(spec)
    except (ValueError, AttributeError):  # the log is damaged
        return True


def _settings(spec: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(spec or "{}").items() if name != "code"}


def tail(log: Path, lines: int | None) -> list[str]:
    """The last `lines` lines of `log`, without the command; None means all that TAIL holds."""
    with log.open("rb") as handle:
        handle.seek(max(0, os.fstat(handle.fileno()).st_size - TAIL))
        text = handle.read().decode("utf-8", errors="replace")
    output = [visible(line) for line in text.splitlines() if line.strip() and not line.startswith("PYTHONPATH=")]
    return output if lines is None else output[-lines:]


def last_words(log: Path) -> str:
    """The last line that the job wrote before it stopped."""
    return next(iter(tail(log, 1)), "killed before it said anything")


def progress(log: Path) -> str:
    """The progress of a job, such as 'block 3 of 30 done after 13 s, about 2.0 min left'; empty without any.

    It stands in the lines of runtime/progress.
    """
    steps = re.findall(r"\w+ \d+ of \d+ done after [^:\n]*", "\n".join(tail(log, 20)), re.MULTILINE)
    return steps[-1] if steps else ""
