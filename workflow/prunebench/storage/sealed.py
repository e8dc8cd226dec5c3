"""JSON records that carry a digest of themselves, so that damage is an error and never another number.

The first line of a record is its seal: the SHA-256 of all other text of the file. A seal protects against flipped and
lost bytes. Against the file of another job the reader compares the hash of the spec that the record was made from.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from string import hexdigits
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.storage.files import json_text, sha256_file, write_text
from prunebench.storage.packed import PACKED, PACKED_AGAIN

_HEAD = '{\n "seal": "'
_DIGITS = 64
_REST = len(_HEAD) + _DIGITS + len('",')
MARKING = 1.0
"""The seconds in which a process that has written a file writes the mark beside it."""


class Damaged(PrunebenchError):
    """A stored file has other bytes than its maker wrote, or was made by another job."""

    def __init__(self, path: Path, reason: str) -> None:
        remedy = PACKED_AGAIN if path.name == PACKED else "delete it and run again"
        super().__init__(f"{path} {reason}: {remedy}")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the JSON object `record`, which is not empty, to `path` atomically, with its seal.

    Equal records give equal bytes. Raises CellFailure for NaN and infinity.
    """
    rest = json_text(record)[1:]
    write_text(path, _first_line(rest) + rest)


def _first_line(rest: str) -> str:
    """The beginning of a record, with its seal, before `rest`."""
    return f'{_HEAD}{hashlib.sha256(rest.encode()).hexdigest()}",'


def read_record(path: Path, spec_hash: str | None = None) -> dict[str, Any]:
    """Read the record at `path`, without its seal.

    A record without a seal, which an earlier version has written, is read as it is. Raises FileNotFoundError if there
    is no file. Raises Damaged if the text does not fit the seal, or if the record was not made from the spec with the
    hash `spec_hash`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        record = json.loads(text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise Damaged(path, f"is damaged ({error})") from None
    if not isinstance(record, dict):
        raise Damaged(path, "is damaged (it holds no JSON object)")
    seal = text[len(_HEAD) : len(_HEAD) + _DIGITS]
    if text.startswith(_HEAD) or (len(seal) == _DIGITS and set(seal) <= set(hexdigits)):
        if text[:_REST] != _first_line(text[_REST:]):
            raise Damaged(path, "is damaged (its text does not fit its seal)")
        del record["seal"]
    check_maker(path, record.get("spec_hash"), spec_hash)
    return record


def read_if_whole(path: Path) -> dict[str, Any] | None:
    """Read the record at `path`; None if it is absent or damaged. No result may depend on such a record."""
    try:
        return read_record(path)
    except (FileNotFoundError, Damaged):
        return None


def read_status(path: Path) -> str | None:
    """Read how the job went that wrote the record `path`: ok or failed; None if it is absent or damaged."""
    return (read_if_whole(path) or {}).get("status")


def mark(path: Path) -> None:
    """Write the SHA-256 of the file `path` into a file beside it, in the form that `sha256sum --check` reads."""
    write_text(_beside(path), f"{sha256_file(path)}  {path.name}\n")


def is_marked(path: Path) -> bool:
    """Whether the file `path` exists and has the digest that `mark` has written."""
    try:
        return _beside(path).read_bytes() == f"{sha256_file(path)}  {path.name}\n".encode()
    except OSError:
        return False


def check_mark(path: Path) -> None:
    """Raise Damaged if the file `path` has another digest than `mark` has written. A file without a mark passes."""
    if _beside(path).exists() and not is_marked(path):
        time.sleep(MARKING)  # another process may have written the file, and not yet its mark
        if not is_marked(path):
            raise Damaged(path, f"is damaged (it has not the digest that {_beside(path).name} tells)")


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def check_maker(path: Path, made_from: Any, spec_hash: str | None) -> None:
    """Raise Damaged unless the file `path`, made from the spec with the hash `made_from`, is the one of `spec_hash`."""
    if spec_hash is not None and made_from != spec_hash:
        raise Damaged(path, "was made from other settings, code or inputs")
