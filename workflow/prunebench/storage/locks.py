"""Locks of places on disk: a second run of the same work ends or waits, and does not spoil the work of the first.

A lock is a kernel lock of a file beside the place, so it ends with the process that holds it. The file says who the
holder is.
"""

import errno
import fcntl
import json
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from prunebench.errors import PrunebenchError

log = logging.getLogger("prunebench")

WAIT = 0.2
"""The seconds between two attempts to take a lock that another process holds."""
LONGEST_COMMAND = 300
"""The greatest number of characters of a holder's command that are shown."""

_held: dict[Path, int] = {}
"""The places whose locks this process holds, with the descriptors of their lock files."""


@contextmanager
def alone(place: Path, doing: str, advice: str) -> Iterator[None]:
    """Hold the lock of `place`, a directory that need not exist, for as long as the context lasts.

    Raises PrunebenchError, "`doing` already, by ...: `advice`", if another process or this one holds the lock.
    """
    if place in _held or not take(place):
        raise PrunebenchError(f"{doing} already, by {holder(place)}: {advice}")
    try:
        yield
    finally:
        release(place)


@contextmanager
def in_turn(place: Path, what: str) -> Iterator[None]:
    """Wait for the lock of `place` and hold it for as long as the context lasts; the log calls the work `what`."""
    if not take(place):
        log.info("waiting for %s: %s has it in hand", what, holder(place))
        while not take(place):
            time.sleep(WAIT)
    try:
        yield
    finally:
        release(place)


def own(place: Path) -> Path:
    """Lock and return `place`, or the first of PLACE.1, PLACE.2, ... that no other process holds."""
    for number in count():
        candidate = place.with_name(f"{place.name}.{number}") if number else place
        if take(candidate):
            return candidate
        log.info("%s does the same: working beside it", holder(candidate))
    raise AssertionError("there is always another number")


def take(place: Path) -> bool:
    """Take the lock of `place`, unless this process has it already; False if another process holds it.

    Raises PrunebenchError if no file can be written beside `place`. On a file system without locks it always succeeds.
    """
    if place in _held:
        return True
    file = _lock_file(place)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            if not lock(descriptor):
                os.close(descriptor)
                return False
            if is_at(descriptor, file):
                break
            os.close(descriptor)  # the holder has deleted the file since it was opened
    except OSError as error:
        raise PrunebenchError(f"cannot write {file} ({error.strerror}): choose another place") from error
    _held[place] = descriptor
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(_this_process()).encode())
    return True


def release(place: Path) -> None:
    """Release the lock of `place`, if this process holds it."""
    descriptor = _held.pop(place, None)
    if descriptor is not None:
        _lock_file(place).unlink(missing_ok=True)
        os.close(descriptor)


def holder(place: Path) -> str:
    """The process that holds the lock of `place`, in words."""
    try:
        process = json.loads(_lock_file(place).read_text(encoding="utf-8"))
        return f"process {process['pid']} on {process['host']} since {process['since']} ({process['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _lock_file(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


def lock(descriptor: int) -> bool:
    """Lock an open file; False if another process holds it. True on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


def is_locked(file: Path) -> bool:
    """Whether another process holds the lock of `file` itself. Meanwhile this process may hold it for a moment."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not lock(descriptor)
    finally:
        os.close(descriptor)


def is_at(descriptor: int, file: Path) -> bool:
    """Whether the open file `descriptor` is still the one with the name `file`."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, str | int]:
    program, *arguments = sys.argv or [""]
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join([Path(program).name, *arguments])[:LONGEST_COMMAND],
    }
