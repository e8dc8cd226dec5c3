"""Corpora that come with splits of their own: their texts, unchanged, as published codes read them."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from prunebench.assets.corpora import Split, split_path
from prunebench.catalog import CorpusEntry
from prunebench.errors import PrunebenchError
from prunebench.files import atomic_path

DEFAULT_COLUMN = "text"


def write_own_splits(entry: CorpusEntry, files: dict[Split, list[Path]], dest: Path) -> dict[Split, int]:
    """Write `{split}.jsonl` into `dest` for each split of `files`, one {"text": ...} a line; return lines per split.

    With `join` a split is one line, so that it is tokenised as a whole; but not what windows are drawn from document by
    document. Of the test split only the first `test_documents` count.
    Raises PrunebenchError if a file is damaged, or has no text in the column that `entry` names.
    """
    column = entry.column or DEFAULT_COLUMN
    counts: dict[Split, int] = {}
    for split, of in files.items():
        texts = (text for file in of for text in read_texts(file, entry.documents, column))
        wanted = islice(texts, entry.test_documents if split == "test" else None)
        by_document = split == "calibration" and entry.calibration == "documents"
        joined: Iterable[str] = wanted if entry.join is None or by_document else [entry.join.join(wanted)]
        counts[split] = _write(split_path(dest, split), joined)
    return counts


def read_texts(path: Path, kind: str, column: str) -> Iterator[str]:
    """The texts in `column` of a parquet file, or under that key in JSON lines (plain or gzipped): all, as they are.

    Raises PrunebenchError, naming the file, if it is not of that kind or has no such texts.
    """
    read = _read_parquet if kind == "parquet" else _read_lines
    try:
        for text in read(path, column):
            if not isinstance(text, str):
                raise TypeError(f"a {type(text).__name__} instead of text")
            yield text
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise PrunebenchError(
            f"{path.name} does not hold texts as {kind} with the column {column!r} ({type(error).__name__}: {error}): "
            "correct 'documents' or 'column' in the catalog"
        ) from error


def _read_parquet(path: Path, column: str) -> Iterator[Any]:
    from pyarrow import parquet  # its errors are ValueErrors, KeyErrors and OSErrors

    with parquet.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            raise KeyError(f"it has {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(columns=[column]):
            yield from batch.column(0).to_pylist()


def _read_lines(path: Path, column: str) -> Iterator[Any]:
    with path.open("rb") as start:
        packed = start.read(2) == b"\x1f\x8b"  # files of a cache are named by their digests
    open_text: Callable[..., Any] = gzip.open if packed else open
    with open_text(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)[column]


def _write(path: Path, texts: Iterable[str]) -> int:
    """Write texts as they come: a shard of C4 does not have to fit into memory."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            count += 1
    return count
