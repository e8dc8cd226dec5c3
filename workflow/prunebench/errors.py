"""The ways in which a job may end badly, kept apart because they need different treatment."""

from textwrap import shorten

from prunebench.names import visible

LONGEST_LINE = 3000
"""The greatest number of characters of a line of a message."""
LONGEST = 300
"""The greatest number of characters of a library's message that are shown."""


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
