"""The finished pieces of a job on disk, so that a killed job resumes with the next piece."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prunebench.storage.files import read_json, write_json, write_text
from prunebench.storage.locks import release

log = logging.getLogger("prunebench")


def claim(directory: Path, identity: str) -> None:
    """Mark `directory` as the place of the work `identity`; files of other work are deleted, and the log says so."""
    mark = directory / "identity"
    if directory.exists() and not (mark.exists() and mark.read_text(encoding="utf-8") == identity):
        log.info("throwing away unfinished work in %s: it is of other settings, inputs or code", directory)
        shutil.rmtree(directory)
    write_text(mark, identity)


def is_whole(path: Path) -> bool:
    """Whether the JSON file `path` exists and can be read: a power cut or a full disk may leave half of it."""
    try:
        read_json(path)
    except FileNotFoundError:
        return False
    except ValueError:
        log.warning("%s is damaged: it is made again", path)
        return False
    return True


class Parts:
    """A directory with one JSON file per finished piece."""

    def __init__(self, directory: Path, identity: str = "") -> None:
        """Pieces that another `identity` (spec, digests of inputs) has left in `directory` are deleted."""
        self._directory = directory
        claim(directory, identity)
        self.resumed = False
        """Whether a piece of an earlier run was used."""

    def get_or(self, name: str, compute: Callable[[], Any]) -> Any:
        """The piece `name` (JSON, floats exact): from disk, or made by `compute` and kept."""
        path = self._directory / f"{name}.json"
        if is_whole(path):
            log.info("resuming: %s is there", name)
            self.resumed = True
        else:
            write_json(path, compute())
        return read_json(path)

    def remove(self) -> None:
        """Delete all pieces and release the lock, once the result has been written."""
        if self._directory.exists():
            shutil.rmtree(self._directory)
        release(self._directory)
