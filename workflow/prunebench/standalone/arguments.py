"""Checks the arguments of the Python functions, and words errors in terms of these arguments."""

from __future__ import annotations

import io
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch

from prunebench.assets.texts import one_by_one
from prunebench.config.values import LARGEST_COUNT, LARGEST_SEED
from prunebench.errors import PrunebenchError
from prunebench.patterns import sparsity_text

DTYPES = ("float32", "bfloat16", "float16")

_OPTIONS = "allocator batch-size bos calibration column corpus dtype force method out param pattern samples seed seqlen"
_OPTION = re.compile(
    rf"(?<![\w-])--(no-bos|{'|'.join(_OPTIONS.split())}|sparsity|text|threads|tokens|windows)(?![\w-])"
)
_OPTIONAL = ("sparsity", "bos", "params", "method", "allocator", "column", "threads", "windows")
"""Arguments whose default is None."""
_NAMES = {"param": "params", "no-bos": "bos=False"}


@contextmanager
def in_python(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Reword PrunebenchErrors to name arguments in place of command-line options, and replace the words in `names`."""
    try:
        yield
    except PrunebenchError as error:
        text = re.sub(r"\('(\w+)', --\1\)", r"('\1')", str(error))
        text = _OPTION.sub(lambda match: f"'{_NAMES.get(match[1], match[1]).replace('-', '_')}'", text)
        for word, replacement in (names or {}).items():
            text = text.replace(word, replacement)
        raise PrunebenchError(text) from error.__cause__


def check_arguments(least: Mapping[str, int], arguments: Mapping[str, Any]) -> None:
    """Raise PrunebenchError for the first wrong value in `arguments`. `least` has the lower bounds of whole numbers.

    The value None is right for an argument whose default is None.
    """
    for name, value in arguments.items():
        if value is None and name in _OPTIONAL:
            continue
        if name in least:
            _check_count(name, value, least[name])
        elif name == "sparsity":
            _check_sparsity(value)
        elif name == "bos":
            _expect(name, value, isinstance(value, bool), "True, False or None")
        elif name == "dtype":
            _expect(name, value, isinstance(value, str) and value in DTYPES, f"one of {', '.join(DTYPES)}")
        elif name == "params":
            named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
            _expect(name, value, named, "a dict of names and values")
        else:
            _expect(name, value, isinstance(value, str), "a string")


def texts_or_ids(given: Any, name: str) -> tuple[list[str] | None, Any]:
    """Return (texts, None) or (None, token ids) for a value in memory, `given` as the argument `name`.

    Any iterable of strings counts as texts: a list, a column of a dataset, an array, a generator. A set is sorted.
    Token ids are not checked here. Raises PrunebenchError for other values, with the position of a wrong item.
    """
    if isinstance(given, torch.Tensor):
        return None, given
    if hasattr(given, "ndim"):  # numpy, pandas and similar libraries
        array = np.asarray(given)
        if array.dtype.kind not in "OUT" or array.ndim != 1:
            return None, array
        given = array.tolist()
    if hasattr(given, "to_pylist"):  # pyarrow, whose items are no Python strings
        given = given.to_pylist()
    if isinstance(given, bytes | bytearray | memoryview | Mapping | io.IOBase) or not isinstance(given, Iterable):
        raise PrunebenchError(f"'{name}' is {_kind(given)}: give a list of strings, the name of a file, or token ids")
    parts = list(given)
    numbers = (int, float, np.number, np.ndarray, torch.Tensor, list, tuple)
    if parts and isinstance(parts[0], numbers) and not any(isinstance(part, str) for part in parts):
        return None, parts
    documents = one_by_one(parts, f"'{name}'")
    return (sorted(documents) if isinstance(given, Set) else documents), None


def _check_count(name: str, value: Any, least: int) -> None:
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    most = LARGEST_SEED if name == "seed" else LARGEST_COUNT
    _expect(name, value, number is not None and number >= least, f"a whole number of at least {least}")
    _expect(name, value, number is not None and number <= most, f"a whole number of at most {most}")


def _check_sparsity(value: Any) -> None:
    try:
        sparsity_text(value)
    except ValueError as error:
        raise PrunebenchError(f"'sparsity': {error}") from None


def _expect(name: str, value: Any, fits: bool, what: str) -> None:
    if not fits:
        shown = " ".join(repr(value).split())
        raise PrunebenchError(f"'{name}' is {shown if len(shown) <= 80 else _kind(value)}: give {what}")


def _kind(value: Any) -> str:
    return "None" if value is None else f"of the type {type(value).__name__}"


def is_path(value: Any) -> TypeGuard[str | Path]:
    """Whether a value names a file or directory."""
    return isinstance(value, str | Path)
