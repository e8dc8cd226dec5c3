"""The forms of names and texts that come from files of users: catalog names, names of files, paths inside a directory.

Everything else is refused, so that no name can lead out of a directory, become an option of a program, collide with
the name of another file, or change what a terminal shows.
"""

import re
from collections.abc import Sequence

SLUG = r"^[a-z0-9][a-z0-9_]*(?:\.[0-9][a-z0-9_]*)*$"
"""A catalog name. A digit follows each dot, because endings such as .json and .measured are names of files."""
LONGEST_SLUG = 100
"""The greatest number of characters of a catalog name: it becomes part of names of files."""
LONGEST_NAME, LONGEST_PATH = 200, 2000
"""The greatest numbers of characters of the name of a file, and of a path inside a directory: disks take these."""
LONGEST_LINE = 300
"""The greatest number of characters of a title."""
REPETITIONS = 20
"""Snakemake refuses a name that ends in so many repetitions of one text, because it fears a circle of rules."""

_REPEATED = re.compile(rf"(.+?)\1{{{REPETITIONS - 1}}}$", re.DOTALL)
# Control characters, halves of characters, separators of lines, and marks that turn the direction of what follows.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def is_plain_name(name: object) -> bool:
    """Whether `name` is the plain name of a file, without directories and control characters.

    The file lies in the directory in which it is looked for. The name may be a link there, which is followed.
    """
    return (
        isinstance(name, str)
        and bool(name.strip())
        and len(name) <= LONGEST_NAME
        and name not in (".", "..")
        and not any(character in "/\\" for character in name)
        and unseen(name) is None
    )


def is_inner_path(path: object) -> bool:
    """Whether `path` leads to a place inside the directory that it is relative to: plain names with "/" between."""
    return isinstance(path, str) and len(path) <= LONGEST_PATH and all(map(is_plain_name, path.split("/")))


def unseen(text: str) -> str | None:
    """The first character of `text` that a reader cannot see but a terminal or a file obeys; None if there is none."""
    match = _UNSEEN.search(text)
    return match and match[0]


def slug(text: str) -> str:
    """Return `text` in lower case, with "_" for each character that a catalog name may not have."""
    name = re.sub(r"[^a-z0-9_.]|\.(?![0-9])", "_", text.lower()).lstrip("_.")[:LONGEST_SLUG]
    return name or "model"


def inert(text: str) -> str:
    """`text` on one line, with a visible escape such as <1b> for each character that a terminal would obey."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """`text` with a visible escape such as <1b> for each character that a terminal would obey."""
    return _UNSEEN.sub(lambda match: f"<{ord(match[0]):02x}>", text)


def brief(text: str, longest: int = LONGEST_LINE) -> str:
    """`text` on one line (see `inert`), cut after `longest` characters, for messages."""
    return inert(text) if len(text) <= longest else f"{inert(text[:longest])}..."


def few(texts: Sequence[str], number: int) -> str:
    """Join the first `number` of `texts` and the count of the others into an enumeration."""
    more = f" and {len(texts) - number} more" if len(texts) > number else ""
    return "; ".join(texts[:number]) + more


def one_line(text: str) -> str:
    """Return `text` if it can be read on one line. Raises ValueError, which says why not, otherwise."""
    if not text.strip():
        raise ValueError("must not be blank")
    if (character := unseen(text)) is not None:
        raise ValueError(f"must be one line of visible characters, without {character!a}")
    if len(text) > LONGEST_LINE:
        raise ValueError(f"must have at most {LONGEST_LINE} characters")
    return text


def a_path(text: str) -> str:
    """Return `text` if it can be the name of a file or directory. Raises ValueError, which says why not, otherwise."""
    if (character := unseen(text)) is not None:
        raise ValueError(f"must be the name of a file or directory, without {character!a}: rename it")
    if not text.strip():
        raise ValueError("must be the name of a file or directory ('.' is the current one)")
    return text


def plain_name(name: str) -> str:
    """Return `name` if it is the plain name of a file. Raises ValueError otherwise."""
    if not is_plain_name(name):
        raise ValueError("must be the plain name of a file, without directories")
    return name


def inner_path(path: str) -> str:
    """Return `path` if it stays inside its directory. Raises ValueError otherwise."""
    if not is_inner_path(path):
        raise ValueError("must be a path inside its directory: names with '/' between, none of them '..'")
    return path


def aperiodic(name: str) -> str:
    """Return `name` unless Snakemake takes it for a sign of a circle of rules. Raises ValueError in that case."""
    if match := _REPEATED.search(name):
        raise ValueError(f"ends in {REPETITIONS} times {match[1]!r}, which Snakemake refuses: choose another name")
    return name
