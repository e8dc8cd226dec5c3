"""Atomic writes, digests, and checks of names: a reader never sees half a file, even if the writer is killed."""

import errno
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from prunebench.errors import CellFailure, PrunebenchError
from prunebench.names import unseen
from prunebench.storage.locks import is_at, lock

LONGEST = 200
"""The longest name of a directory that is written, in bytes: file systems allow 255, and suffixes are added."""
AGAIN = "get it again from where it came"
"""The advice on a file of a user that is damaged: it may have been downloaded, copied or written."""
LFS = b"version https://git-lfs"
"""The first bytes of a Git LFS pointer."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed over `path`, else removed.

    Several processes may write `path` at the same time: each writes a file of its own, and the last one stays.
    Raises PrunebenchError if `path` is a device or a pipe, which a file would replace for all programs.
    """
    refuse_special(path, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, descriptor = _taken(path)
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(_mode())  # safetensors makes its files private
        temporary.replace(path)  # from here on the temporary name may be another writer's
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def refuse_special(path: Path, what: str) -> None:
    """Raise PrunebenchError, which calls it `what`, if `path` or what it links to is neither file nor directory."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise PrunebenchError(f"{what} is a device or a pipe, in whose place no file is written: name a file")


def _taken(path: Path) -> tuple[Path, int]:
    """A temporary file beside `path`, emptied, and its descriptor, which locks it until it is closed.

    The file has the first name that no other process has locked, so that the file of a killed writer is overwritten.
    """
    for number in count():
        temporary = path.with_name(f".{path.name}.part{number or ''}")
        while True:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            if not lock(descriptor):
                os.close(descriptor)
                break
            if is_at(descriptor, temporary):
                os.ftruncate(descriptor, 0)
                return temporary, descriptor
            os.close(descriptor)  # its writer has renamed the file since it was opened
    raise AssertionError("there is always another number")


@cache
def _mode() -> int:
    """The permissions of a new file; the system tells the mask only when it is set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as `json_text`. Raises CellFailure for NaN and infinity."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Write `value` as indented JSON with sorted keys. Raises CellFailure for NaN and infinity."""
    check_finite(value)
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def check_finite(value: Any) -> None:
    """Raise CellFailure, which names the place and the number, if a number in the JSON value is NaN or infinite."""
    for path, number in _undefined(value):
        raise CellFailure(f"{' of '.join(reversed(path)) or 'the number'} is {number}: a computation has overflowed")


def _undefined(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Give each number in a JSON value that is NaN or infinite, with the keys that lead to it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _undefined(entry, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _undefined(entry, (*path, f"entry {number}"))


def read_json(path: Path) -> Any:
    """Parse the JSON file at `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


def is_regular(path: Path) -> bool:
    """Whether `path` is a regular file, and no pipe, whose reader waits forever. Raises OSError if nothing is there."""
    return stat.S_ISREG(path.stat().st_mode)


def read_object(path: Path, advice: str = AGAIN) -> dict[str, Any]:
    """The JSON object in the file `path`. PrunebenchError, with `advice` on a missing file, if there is none."""
    try:
        if not is_regular(path):
            raise PrunebenchError(f"{path} is no regular file: {advice}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise PrunebenchError(f"{path} does not exist: {advice}") from None
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        with_pointer = path.read_bytes().startswith(LFS)
        hint = "it is a Git LFS pointer, run `git lfs pull`" if with_pointer else AGAIN
        raise PrunebenchError(f"{path} is not JSON ({error}): {hint}") from None
    if not isinstance(content, dict):
        raise PrunebenchError(f"{path} holds a {type(content).__name__} instead of a JSON object: {AGAIN}")
    return content


def remove(path: Path) -> None:
    """Delete `path`, whatever it is: a file, a link, or a directory with all that it holds. It need not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """The SHA-256 of the file at `path`, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def named_path(name: str | os.PathLike[str], what: str) -> Path:
    """A path `name` from a user, which need not exist; errors call it `what`.

    Raises PrunebenchError if it is empty (which pathlib takes for "."), not UTF-8, impossible for a file, or in a
    circle of links.
    """
    text = os.fspath(name)
    if not text.strip():
        raise PrunebenchError(f"{what}: the name is empty: name a file or a directory ('.' is the current one)")
    shown = ascii(text if len(text) <= 80 else f"{text[:80]}...")
    try:
        text.encode()
        Path(text).stat()
    except UnicodeEncodeError:
        raise PrunebenchError(f"{what}: the name {shown} is not UTF-8: rename it") from None
    except ValueError as error:  # a zero byte
        raise PrunebenchError(f"{what}: no file can be called {shown} ({error})") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PrunebenchError(f"{what}: the name {shown} is too long for a file") from None
        if error.errno == errno.ELOOP:
            raise PrunebenchError(f"{what}: the links of {shown} lead in a circle: mend them") from None
    if unseen(text) is not None:
        raise PrunebenchError(f"{what}: the name {shown} has characters that cannot be seen: rename it")
    return Path(text)


def named_file(name: str | os.PathLike[str], what: str) -> Path:
    """A path `name` from a user of a file to be written, with its links followed.

    Raises PrunebenchError like `named_path`, and if the path is a directory, a device or a pipe.
    """
    path = Path(os.path.realpath(named_path(name, what)))
    if path.is_dir():
        raise PrunebenchError(f"{what}: {path} is a directory: name a file")
    refuse_special(path, f"{what}: {path}")
    return path


def named_destination(name: str | os.PathLike[str], what: str) -> Path:
    """A path `name` from a user of a directory to be written; scratch files beside it are named after it.

    Raises PrunebenchError like `named_path`, for the root of the file system, and for a name that is too long.
    """
    path = named_path(name, what)
    own = path.resolve().name
    if not own:
        raise PrunebenchError(f"{what}: {path} is the root of the file system: name a directory below it")
    if len(os.fsencode(own)) > LONGEST:
        raise PrunebenchError(f"{what}: the name '{own[:80]}...' is longer than {LONGEST} bytes: choose a shorter one")
    return path
