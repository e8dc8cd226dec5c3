"""Text files -> documents -> the three splits. Pure functions: nothing here knows where the text came from."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from prunebench.errors import PrunebenchError
from prunebench.files import write_text

DocumentKind = Literal["lines", "blank_lines", "wikiextractor", "jsonl"]
Split = Literal["calibration", "tuning", "test", "training"]
SPLITS: tuple[Split, ...] = ("calibration", "tuning", "test")
"""Those of a corpus of evaluation; one of training is all `training`."""

_BLANK_LINES = re.compile(r"\n\s*\n")
_WIKIEXTRACTOR = re.compile(r"<doc [^>]*>\n(.*?)</doc>", re.DOTALL)


def read_documents(path: Path, kind: DocumentKind) -> list[str]:
    """The documents in the UTF-8 file `path`, stripped, in file order, empty ones dropped.

    `lines`: one per line; `blank_lines`: paragraphs; `wikiextractor`: `<doc ...>` elements; `jsonl`: key "text".
    Raises PrunebenchError if the file is not UTF-8, a JSON line has no text, or there is no document at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PrunebenchError(f"{path} is not UTF-8 text: {error}") from error
    stripped = (document.strip() for document in _cut(text, kind, path))
    documents = [document for document in stripped if document]
    if not documents:
        raise PrunebenchError(f"{path} holds no document when read as '{kind}': correct 'documents' in the catalog")
    return documents


def split_of(document: str) -> Split:
    """The split of a document of evaluation: 60% calibration, 20% tuning, 20% test, decided by its text alone.

    Equal documents land in the same split, and adding documents never moves the others.
    """
    place = percentile(document)
    if place < 60:
        return "calibration"
    return "tuning" if place < 80 else "test"


def percentile(document: str) -> int:
    """A number from 0 to 99 that follows from the text alone."""
    return int.from_bytes(hashlib.sha256(document.encode("utf-8")).digest()[:8], "big") % 100


def write_splits(documents: Iterable[str], dest: Path, *, training: bool = False) -> dict[Split, int]:
    """Write `{split}.jsonl` for every split into `dest`, one {"text": ...} a line; return documents per split.

    With `training` there is one split, `training`, that holds all documents.
    """
    splits: tuple[Split, ...] = ("training",) if training else SPLITS
    lines: dict[Split, list[str]] = {split: [] for split in splits}
    for document in documents:
        split: Split = "training" if training else split_of(document)
        lines[split].append(json.dumps({"text": document}, ensure_ascii=False) + "\n")
    for split, texts in lines.items():
        write_text(split_path(dest, split), "".join(texts))
    return {split: len(texts) for split, texts in lines.items()}


def load_split(directory: Path, split: Split) -> list[str]:
    """The documents of one split that `write_splits` wrote into `directory`."""
    path = split_path(directory, split)
    # By line: of a shard of C4 the whole text, its lines and its documents at once would take gigabytes.
    with path.open(encoding="utf-8", newline="\n") as lines:
        return _read_jsonl(lines, path)


def split_path(directory: Path, split: Split) -> Path:
    """Where `directory` holds `split`."""
    return directory / f"{split}.jsonl"


def _cut(text: str, kind: DocumentKind, path: Path) -> list[str]:
    match kind:
        case "lines":
            # Not splitlines(): it also cuts at form feeds and Unicode line separators inside a document.
            return text.split("\n")
        case "blank_lines":
            return _BLANK_LINES.split(text)
        case "wikiextractor":
            return _WIKIEXTRACTOR.findall(text)
        case "jsonl":
            return _read_jsonl(text.split("\n"), path)


def _read_jsonl(lines: Iterable[str], path: Path) -> list[str]:
    return [_text_of(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]


def _text_of(line: str, path: Path, number: int) -> str:
    try:
        document = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise PrunebenchError(f'{path}, line {number}: expected a JSON object with the key "text"') from error
    if not isinstance(document, str):
        raise PrunebenchError(f'{path}, line {number}: "text" is not a string')
    return document
