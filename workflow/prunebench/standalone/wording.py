"""Words messages of stages, which name the keys of a config, for single commands. It imports nothing heavy."""

import re
from collections.abc import Container

_KEY = re.compile(r"(?<=\s)\('(\w+)'(?:, --\1)?\)")
"""A key of a config in brackets, perhaps with an option after it."""
_SINGLE = re.compile(r"\b1 windows\b( of \d+)?( need\b)?")


def as_options(message: str, options: Container[str]) -> str:
    """Name options in place of keys of a config: `('samples')` becomes `(--samples)` if that is one of `options`."""
    message = _KEY.sub(lambda match: f"(--{match[1]})" if f"--{match[1]}" in options else match[0], message)
    return in_singular(message)


def in_singular(message: str) -> str:
    """Say `1 window` where a stage, which counts in the plural, says `1 windows`.

    An edit of the message in the code of the stage would make all its results anew, because the code is in the specs.
    """
    return _SINGLE.sub(lambda match: f"1 window{match[1] or ''}{' needs' if match[2] else ''}", message)
