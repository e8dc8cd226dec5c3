"""The digests that large files must have. A file is checked when this process first reads a tensor of it.

To check all files of a model before a job would read a model that is larger than memory twice from the disk.
"""

from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.storage.files import sha256_file

_expected: dict[Path, tuple[str, str]] = {}
"""For each file that is not checked yet its SHA-256, and the end of the message if it has another one."""


def expect(path: Path, sha256: str, otherwise: str) -> None:
    """Let `check` compare the file `path` with its SHA-256, and say `otherwise` if it differs."""
    _expected[path.resolve()] = (sha256, otherwise)


def check(path: Path) -> None:
    """Raise PrunebenchError if the file `path` has not the digest that it is expected to have. Each is read once."""
    # Two threads may read a file at once; both check it.
    if not _expected or (entry := _expected.get(path := path.resolve())) is None:
        return
    sha256, otherwise = entry
    try:
        actual = sha256_file(path)
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None
    if actual != sha256:
        raise PrunebenchError(f"{path} {otherwise}")
    _expected.pop(path, None)
