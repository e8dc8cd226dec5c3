"""The two ways a job may end badly, kept apart because they need different treatment."""


class PrunebenchError(Exception):
    """Something the user or the machine must mend: bad config, missing file, wrong digest.

    The message says what is wrong, where, and what to do; scripts print it without a traceback and exit 1.
    """


class CellFailure(Exception):
    """A deterministic failure of one cell (NaN, singular matrix, missed sparsity): a result, not a crash.

    Running the job again would fail again, so it is recorded as ``status: failed`` with this message as its reason.
    """


def summary(error: BaseException) -> str:
    """The kind of an error and the first line of its message that says something, for a message of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
