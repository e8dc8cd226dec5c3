"""Words messages of stages, which name the keys of a config, for single commands. It imports nothing heavy."""

import re
from collections.abc import Container

_KEY = re.compile(r"(?<=\s)\('(\w+)'(?:, --\1)?\)")
"""A key of a config in brackets, perhaps with an option after it."""
_SHORT = re.compile(
    r"'.*?' is too short: its \w+ split has "
    r"(?P<needs>(?P<tokens>\d+) tokens for .*, but (?P<samples>\d+) windows of .*)\. "
    r"(?:(?P<fewer>Lower the number of windows .*), or their|Lower their) length .*, or name a larger text",
    re.DOTALL,
)
"""The message of the stage `calibrate` about a text that is too short."""
SHORTEST = 2
"""The number of tokens of the shortest window that has a token to predict."""
_SINGLE = re.compile(r"\b1 (window|token)s\b( of \d+)?( need\b)?")


def as_options(message: str, options: Container[str]) -> str:
    """Name options in place of keys of a config: `('samples')` becomes `(--samples)` if that is one of `options`."""
    message = _KEY.sub(lambda match: f"(--{match[1]})" if f"--{match[1]}" in options else match[0], message)
    return in_singular(message)


def of_own_text(message: str, title: str) -> str:
    """Word the message of a stage about a user's text that is too short: all of the text `title` is used, unsplit.

    A shorter window helps only if all windows together then have tokens enough for two in each.
    """
    if not (short := _SHORT.fullmatch(message)):
        return message
    ways = [] if short["fewer"] is None else [short["fewer"]]
    if int(short["tokens"]) >= SHORTEST * int(short["samples"]):
        ways.append(f"{'' if ways else 'Lower '}their length ('seqlen')")
    advice = ", or ".join([*ways, "give more text"])
    return f"'{title}' is too short: it has {short['needs']}. {advice[0].upper()}{advice[1:]}"


def in_singular(message: str) -> str:
    """Say `1 window` or `1 token` where a stage, which counts in the plural, says `1 windows`.

    An edit of the message in the code of the stage would make all its results anew, because the code is in the specs.
    """
    return _SINGLE.sub(lambda match: f"1 {match[1]}{match[2] or ''}{' needs' if match[3] else ''}", message)
