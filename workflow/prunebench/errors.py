"""The two ways a job may end badly, kept apart because they need different treatment."""

from textwrap import shorten

LONGEST = 300
"""Characters of a library's message that are shown."""


class PrunebenchError(Exception):
    """Something the user or the machine must mend: bad config, missing file, wrong digest.

    The message says what is wrong, where, and what to do; scripts print it without a traceback and exit 1.
    """


class CellFailure(Exception):
    """A deterministic failure of one cell (NaN, singular matrix, missed sparsity): a result, not a crash.

    Running the job again would fail again, so it is recorded as ``status: failed`` with this message as its reason.
    """


def summary(error: BaseException) -> str:
    """The kind of an error and its message on one line, cut where it would be too long to read."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {shorten(text, LONGEST, placeholder=' ...')}" if text else type(error).__name__
