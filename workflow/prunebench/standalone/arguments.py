"""Arguments of the functions in Python: what they may be, and mistakes in terms of their names."""

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
    """Let errors speak of arguments, not of options of the command line, and of `names`: words for words."""
    try:
        yield
    except PrunebenchError as error:
        text = re.sub(r"\('(\w+)', --\1\)", r"('\1')", str(error))
        text = _OPTION.sub(lambda match: f"'{_NAMES.get(match[1], match[1]).replace('-', '_')}'", text)
        for word, instead in (names or {}).items():
            text = text.replace(word, instead)
        raise PrunebenchError(text) from error.__cause__


def check_arguments(least: Mapping[str, int], arguments: Mapping[str, Any]) -> None:
    """PrunebenchError for the first of `arguments` that is of no use: whole numbers are at least those of `least`.

    None is left alone where it stands for a default.
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
    """(texts, None) or (None, what is to be an array of ids) for what a user gave in memory as the argument `name`.

    Any iterable of strings is texts: a list, a column of a dataset, an array, a generator. A set is sorted.
    Raises PrunebenchError, with the position of what is no string, for what is neither.
    """
    if isinstance(given, torch.Tensor):
        return None, given
    if hasattr(given, "ndim"):  # numpy, pandas and what is like them
        array = np.asarray(given)
        if array.dtype.kind not in "OUT" or array.ndim != 1:
            return None, array
        given = array.tolist()
    if hasattr(given, "to_pylist"):  # pyarrow, whose values are no strings one by one
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
    _expect(name, value, number is not None and number >= least, f"a whole number of at least {least}")


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
