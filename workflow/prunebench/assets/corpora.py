"""The splits of a corpus, made from documents of any source."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from prunebench.assets.texts import read_texts
from prunebench.errors import PrunebenchError
from prunebench.storage.files import atomic_path

Split = Literal["calibration", "tuning", "test", "training"]
SPLITS: tuple[Split, ...] = ("calibration", "tuning", "test")
"""The splits of a corpus for evaluation; a corpus for training has the one split `training`."""
SEPARATOR = "\n\n"
"""The text between two documents that are joined."""

_WHITE_SPACE = re.compile(r"\s")


def split_of(document: str) -> Split:
    """The split of a document for evaluation (60% calibration, 20% tuning, 20% test), from its text alone.

    Equal documents are in the same split, and new documents never move the others.
    """
    place = percentile(document)
    if place < 60:
        return "calibration"
    return "tuning" if place < 80 else "test"


def percentile(document: str) -> int:
    """A number from 0 to 99 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(document.encode("utf-8")).digest()[:8], "big") % 100


def split_by_hash(documents: Iterable[str]) -> dict[Split, list[str]]:
    """The documents of each split by `split_of`; a split may be empty if there are few documents."""
    splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for document in documents:
        splits[split_of(document)].append(document)
    return splits


def split_by_position(documents: Iterable[str]) -> dict[Split, list[str]]:
    """One text in each split: the first 60% of the characters of all documents, the next 20%, and the rest.

    The cuts are at white space. Raises PrunebenchError if there is no white space to cut at.
    """
    text = SEPARATOR.join(documents).strip()
    calibration, rest = _halves(text, 0.6)
    tuning, test = _halves(rest, 0.5)
    return {"calibration": [calibration], "tuning": [tuning], "test": [test]}


def write_splits(splits: Mapping[Split, Iterable[str]], dest: Path) -> dict[Split, int]:
    """Write `{split}.jsonl` into `dest` for every split, one {"text": ...} a line; return the documents per split."""
    return {split: _write(split_path(dest, split), documents) for split, documents in splits.items()}


def load_split(directory: Path, split: Split) -> list[str]:
    """The documents of one split that `write_splits` wrote into `directory`."""
    return list(read_texts(split_path(directory, split), "jsonl"))


def split_path(directory: Path, split: Split) -> Path:
    """The file of `split` in `directory`."""
    return directory / f"{split}.jsonl"


def _halves(text: str, share: float) -> tuple[str, str]:
    """Cut `text` in two at the first white space after the fraction `share` of it, else at the last before that."""
    place = int(len(text) * share)
    after = _WHITE_SPACE.search(text, place)
    cut = after.start() if after else max(text.rfind(space, 0, place) for space in (" ", "\n", "\t"))
    if cut < 0:
        raise PrunebenchError("there is not enough white space to cut it at")
    return text[:cut].rstrip(), text[cut:].lstrip()


def _write(path: Path, documents: Iterable[str]) -> int:
    """Write documents one by one, as a shard of C4 may not fit into memory; return their number."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
            count += 1
    return count
