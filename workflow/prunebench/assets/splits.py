"""Corpora with splits of their own, whose texts stay unchanged, as published codes read them."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import cast

from prunebench.assets.corpora import Split, write_splits
from prunebench.assets.texts import COLUMN, read_texts
from prunebench.config.entries import CorpusEntry
from prunebench.config.values import DocumentKind


def write_own_splits(entry: CorpusEntry, files: dict[Split, list[Path]], dest: Path) -> dict[Split, int]:
    """Write `{split}.jsonl` into `dest` for each split of `files`, one {"text": ...} a line; return lines per split.

    With `join` a split is one line, so that it is tokenised as a whole, unless calibration windows are drawn document
    by document. Of the test split only the first `test_documents` are used.
    Raises PrunebenchError if a file is damaged, or has no text in the column that `entry` names.
    """
    return write_splits({split: _texts(entry, split, paths) for split, paths in files.items()}, dest)


def _texts(entry: CorpusEntry, split: Split, files: list[Path]) -> Iterable[str]:
    kind = cast(DocumentKind, entry.documents)
    texts = (text for file in files for text in read_texts(file, kind, entry.column or COLUMN))
    counted = islice(texts, entry.test_documents if split == "test" else None)
    by_document = split == "calibration" and entry.calibration == "documents"
    return counted if entry.join is None or by_document else [entry.join.join(counted)]
