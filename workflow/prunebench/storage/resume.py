"""The finished pieces of a job on disk, so that a killed job resumes with the next piece."""

import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prunebench.storage.files import remove, write_text
from prunebench.storage.locks import release
from prunebench.storage.sealed import Damaged, read_record, write_record

log = logging.getLogger("prunebench")
_IDENTITY = "identity"


def claim(directory: Path, identity: str) -> None:
    """Mark `directory` as the place of the work `identity`; files of other work are deleted, and the log says so."""
    if identity_of(directory) != identity and directory.exists():
        log.info("throwing away unfinished work in %s: it is of other settings, inputs or code", directory)
        remove(directory)
    write_text(directory / _IDENTITY, identity)


def identity_of(directory: Path) -> str | None:
    """Return the identity of the work whose place is `directory`; None if it is the place of no work."""
    try:
        return (directory / _IDENTITY).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def mark_of(identity: str) -> str:
    """A short digest of `identity`, which each finished piece of the work carries."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


class Parts:
    """A directory with one JSON file per finished piece."""

    def __init__(self, directory: Path, identity: str = "") -> None:
        """Pieces that another `identity` (spec, digests of inputs) has left in `directory` are deleted."""
        self.directory, self._mark = directory, mark_of(identity)
        """The place of the pieces, and of whatever else the work leaves on its way. It is deleted at the end."""
        claim(directory, identity)
        self.resumed = False
        """Whether a piece of an earlier run was used."""

    def get_or(self, name: str, compute: Callable[[], Any]) -> Any:
        """The piece `name` (JSON, floats exact): from disk, or made by `compute` and kept."""
        path, mark = self.directory / f"{name}.json", f"{self._mark} {name}"
        try:
            piece = read_record(path, mark)["value"]
        except FileNotFoundError:
            pass
        except (Damaged, KeyError) as damage:
            log.warning("a piece is made again: %s", damage)
            remove(path)
        else:
            log.info("resuming: %s is there", name)
            self.resumed = True
            return piece
        write_record(path, {"spec_hash": mark, "value": compute()})
        return read_record(path, mark)["value"]

    def remove(self) -> None:
        """Delete all pieces and release the lock, once the result has been written."""
        if self.directory.exists():
            shutil.rmtree(self.directory)
        release(self.directory)
