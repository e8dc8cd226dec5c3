"""The ways in which a job may end badly, kept apart because they need different treatment."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from prunebench.names import visible

LONGEST_LINE = 3000
"""The greatest number of characters of a line of a message."""
LONGEST = 300
"""The greatest number of characters of a library's message that are shown."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The numbers of the errors of a disk, or of a user's share of it, that is full."""
FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "iostream error", "unexpected pos")
"""The words in which errors of libraries tell a full disk; the last two are those of torch.save."""


def _told(line: str) -> str:
    return visible(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}...")


class _Told(Exception):
    """Base of errors whose message people read: a terminal obeys no character of it but the ends of its lines."""

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(_told(line) for line in message.split("\n")))


class PrunebenchError(_Told):
    """The user or the machine must mend something: a bad config, a missing file, a wrong digest.

    The message says what is wrong, where, and what to do; scripts print it without a traceback and exit with 1.
    """


class CellFailure(_Told):
    """One cell failed in a way that would repeat itself (NaN, a singular matrix, a missed sparsity).

    That is a result and no crash: it is recorded as `status: failed` with this message as its reason.
    """


class PluginMistake(Exception):
    """A plug-in breaks its contract, such as by reading what it did not declare. Its author must mend the plug-in."""


def summary(error: BaseException) -> str:
    """The class of an error and its message on one line, with the message cut at `LONGEST` characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {shorten(text, LONGEST, placeholder=' ...')}" if text else type(error).__name__


@contextmanager
def disk_errors_told() -> Iterator[None]:
    """Raise PrunebenchError, which says what to do, in place of an error that a disk has caused within the context.

    The disk may be full, or a file or directory may refuse to be read or written.
    """
    try:
        yield
    except Exception as error:
        if not any(map(_is_of_full_disk, _with_causes(error))):
            if isinstance(error, OSError) and isinstance(error.filename, str | bytes | Path) and error.strerror:
                raise PrunebenchError(
                    f"{os.fsdecode(error.filename)} cannot be read or written ({error.strerror}): mend or move what is "
                    "there, or name another place, and run again"
                ) from error
            raise
        place = Path(os.fsdecode(getattr(error, "filename", None) or "."))
        place = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
        megabytes = shutil.disk_usage(place).free / 1e6
        raise PrunebenchError(
            f"the disk is full: {megabytes:.1f} MB are free at {place.absolute()}. "
            "Free space there and run again: what is finished is kept"
        ) from None


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(text in str(error) for text in FULL_TEXTS)
