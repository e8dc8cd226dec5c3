"""Digests of large files of the user, which are not taken again while the system says that a file is untouched.

A file keeps its digest while its size, the times of its last change and its place on the disk stay. No command can set
back the time of the last change of its status (ctime): copies that keep the time of the content get a new one.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
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


def digests_of(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of each file. Raises PrunebenchError if a file cannot be read or changes meanwhile."""
    known = _load()
    digests, settled = [], {}
    for path in paths:
        try:
            name, state = str(path.resolve()), _state(path)
            entry = known.get(name)
            if not isinstance(entry, list) or entry[1:] != state:
                entry = [_digest(path, state), *state]
                if time.time() - max(state[1:3]) / 1e9 > SETTLED:
                    settled[name] = entry
        except OSError as error:
            raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None
        digests.append(str(entry[0]))
    if settled:
        _remember(settled)
    return digests


def _digest(path: Path, state: list[int]) -> str:
    if state[0] >= LARGE:
        log.info("reading %s once, to know its content", path)
    digest = sha256_file(path)
    if _state(path) != state:
        raise PrunebenchError(f"{path} changes while it is read: run again when it is complete")
    return digest


def _state(path: Path) -> list[int]:
    at = path.stat()
    return [at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino, at.st_dev]


def _file() -> Path:
    return user_cache() / "digests.json"


def _load() -> dict[str, Any]:
    """The digests that are remembered; none if the file is absent, damaged or of another form."""
    try:
        entries = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _remember(entries: dict[str, list[str | int]]) -> None:
    """Keep `entries`. Of two processes that write at once, those of one are lost, and its files are read again."""
    kept = {path: entry for path, entry in _load().items() if path not in entries} | entries
    try:
        write_text(_file(), json.dumps(dict(list(kept.items())[-MOST:]), indent=0))
    except OSError as error:
        log.info("digests are not remembered in %s: %s", _file(), error.strerror)
