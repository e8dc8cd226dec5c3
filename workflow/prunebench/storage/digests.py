"""Digests of large files of the user, which are not taken again while the system says that a file is untouched.

A file keeps its digest while its size, the times of its last change and its place on the disk stay. No command can set
back the time of the last change of its status (ctime): copies that keep the time of the content get a new one.
"""

import json
import logging
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from prunebench.errors import PrunebenchError
from prunebench.storage.files import sha256_file, write_text

log = logging.getLogger("prunebench")

MOST = 10_000
"""The greatest number of files that are remembered."""
SETTLED = 2.0
"""The seconds after which a second change of a file must have another time. File systems have coarse clocks."""
LARGE = 10**9
"""The size in bytes from which the log says that a file is read."""


def user_cache() -> Path:
    """The directory of downloads and unfinished evaluations: $PRUNEBENCH_CACHE, or the system's place for caches."""
    return Path(os.environ.get("PRUNEBENCH_CACHE") or platformdirs.user_cache_dir("prunebench"))


def digest_of(path: Path) -> str:
    """The SHA-256 of the file at `path`. Raises PrunebenchError if it cannot be read or changes meanwhile."""
    try:
        return _digest(path.resolve(), _state(path))
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None


@cache
def _digest(path: Path, state: tuple[int, ...]) -> str:
    known = _load().get(str(path))
    if isinstance(known, list) and known[1:] == list(state):
        return str(known[0])
    if state[0] >= LARGE:
        log.info("reading %s once, to know its content", path)
    digest = sha256_file(path)
    if _state(path) != state:
        raise PrunebenchError(f"{path} changes while it is read: run again when it is complete")
    if time.time() - max(state[1:3]) / 1e9 > SETTLED:
        _remember(str(path), [digest, *state])
    return digest


def _state(path: Path) -> tuple[int, ...]:
    at = path.stat()
    return at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino, at.st_dev


def _file() -> Path:
    return user_cache() / "digests.json"


def _load() -> dict[str, Any]:
    """The digests that are remembered; none if the file is absent, damaged or of another form."""
    try:
        entries = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _remember(path: str, entry: list[str | int]) -> None:
    """Keep `entry`. Of two processes that write at once, one is lost, and its file is read again next time."""
    entries = _load()
    entries.pop(path, None)
    entries = dict([*entries.items(), (path, entry)][-MOST:])
    try:
        write_text(_file(), json.dumps(entries, indent=0))
    except OSError as error:
        log.info("digests are not remembered in %s: %s", _file(), error.strerror)
