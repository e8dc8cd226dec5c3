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

from prunebench.assets.texts import COLUMN, one_by_one
from prunebench.config.values import DTYPES, LARGEST_COUNT, LARGEST_SEED, DType, dtype_named
from prunebench.errors import PrunebenchError
from prunebench.patterns import sparsity_text
from prunebench.standalone.wording import in_singular

_ARGUMENTS = (
    "against", "allocator", "allocator-param", "batch", "batch-size", "bits", "bos", "calibration", "column",
    "corpus", "dense", "device", "dtype", "evaluations", "force", "group", "limit", "method", "no-bos", "out",
    "packed", "param", "pattern", "private", "prompt", "repeats", "results", "samples", "seed", "seqlen", "space",
    "sparsity", "strategy", "suite", "task", "text", "threads", "tokens", "windows",
)  # fmt: skip
"""The options of commands that the Python functions have as arguments."""
_NAMES = {"param": "method_params", "allocator-param": "allocator_params", "task": "tasks", "batch": "batches"}
"""The arguments whose names are not those of their options."""
_SAID = {flag: f"{flag}=True" for flag in ("dense", "force", "packed", "private")} | {"no-bos": "bos=False"}
"""The arguments that options without a value stand for."""
_FIELD = re.compile(r"'?--((?:allocator-)?param) (\w+)(?=[':])'?")
_OPTION = re.compile(rf"(?<![\w-])--({'|'.join(sorted(_ARGUMENTS, key=len, reverse=True))})(?![\w-])(?: (\d[\w.]*\b))?")
_OPTIONAL = (
    "sparsity", "bos", "method_params", "allocator_params", "params", "method", "allocator", "column", "threads",
    "windows", "corpus", "tasks", "limit", "bits", "group", "message",
)  # fmt: skip
"""Arguments whose default is None."""
_MAPPINGS = ("params", "method_params", "allocator_params")


@contextmanager
def in_python(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Reword PrunebenchErrors to name arguments in place of command-line options, and replace the words in `names`."""
    try:
        yield
    except PrunebenchError as error:
        text = reworded(str(error))
        for word, replacement in (names or {}).items():
            text = text.replace(word, replacement)
        raise PrunebenchError(text) from error.__cause__


def reworded(message: str) -> str:
    """Name arguments in place of options: `--sparsity 0.6` becomes `sparsity=0.6`, and `--out` becomes `'out'`."""
    message = in_singular(message)
    message = re.sub(r"\('(\w+)', --\1\)", r"('\1')", message)
    message = _FIELD.sub(lambda match: f"{match[2]!r} in '{_argument(match[1])}'", message)
    return _OPTION.sub(_reworded, message)


def _reworded(match: re.Match[str]) -> str:
    option, value = match[1], match[2]
    if value is not None:
        plain = re.fullmatch(r"\d+(\.\d+)?", value)
        return f"{_argument(option)}={value if plain else repr(value)}"
    return _SAID.get(option) or f"'{_argument(option)}'"


def _argument(option: str) -> str:
    return _NAMES.get(option, option.replace("-", "_"))


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
        elif name == "tasks":
            several = not isinstance(value, str) and isinstance(value, Iterable)
            _expect(name, value, several and all(isinstance(task, str) for task in value), "a list of names of tasks")
        elif name == "bos":
            _expect(name, value, isinstance(value, bool), "True, False or None")
        elif name == "dtype":
            _expect(name, value, dtype_of(value) is not None, f"one of {', '.join(DTYPES)}")
        elif name in ("dense", "force", "packed", "private", "samples") and name not in least:
            _expect(name, value, isinstance(value, bool), "True or False")
        elif name in _MAPPINGS:
            named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
            _expect(name, value, named, "a dict of names and values")
        else:
            _expect(name, value, isinstance(value, str), "a string")


def dtype_of(value: Any) -> DType | None:
    """Return the name of a dtype of forward passes, which `value` names or is; None for any other value."""
    return dtype_named(str(value)) if isinstance(value, str | torch.dtype) else None


def texts_or_ids(given: Any, name: str, column: str | None = None) -> tuple[list[str] | None, Any]:
    """Return (texts, None) or (None, token ids) for a value in memory, `given` as the argument `name`.

    Any iterable of strings counts as texts: a list, a column of a dataset, an array, a generator. A set is sorted. Of a
    dataset with several columns (datasets, pyarrow) `column` is taken, by default "text", or else "input_ids".
    Token ids are not checked here. Raises PrunebenchError for other values, with the position of a wrong item.
    """
    if isinstance(given, Mapping) and "input_ids" in given:  # what a tokenizer of transformers returns
        given = given["input_ids"]
    elif hasattr(given, "column_names"):
        return texts_or_ids(_column(given, name, column), name)
    if column is not None:
        raise PrunebenchError(f"'column' belongs to a file or a dataset, and '{name}' is none: leave it out")
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


def _column(dataset: Any, name: str, column: str | None) -> Any:
    """Return the values of a column of a dataset, the argument `name`. Raises PrunebenchError if it has no such one."""
    if isinstance(dataset, Mapping):
        raise PrunebenchError(f"'{name}' has the splits {', '.join(map(str, dataset))}: give one of them")
    known = dataset.column_names
    if known is None:  # a stream of rows, whose columns are not known before
        return (row.get(column or COLUMN) for row in dataset)
    chosen = column or next((usual for usual in (COLUMN, "input_ids") if usual in known), COLUMN)
    if chosen not in known:
        raise PrunebenchError(
            f"'{name}' has no column {chosen!r} (it has: {', '.join(known)}): name the one with the text by 'column'"
        )
    try:
        return dataset[chosen]
    except (TypeError, NotImplementedError):  # a stream
        return (row[chosen] for row in dataset)


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
