"""Readers of text files. An error is one line that names the file, the line in it, and the reason."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from prunebench.config.values import DocumentKind
from prunebench.errors import PrunebenchError
from prunebench.names import is_plain_name

log = logging.getLogger("prunebench")

COLUMN = "text"
"""The default key (JSON lines) or column (parquet) that holds the text."""
KINDS: dict[str, DocumentKind] = {".txt": "whole", ".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
"""How a file is cut into documents, by its suffix (the one before .gz in a packed file)."""
COLUMNED = ("jsonl", "parquet")
"""The kinds with text under a key or in a column."""
IN_DIRECTORIES = tuple(suffix for suffix in KINDS if suffix != ".json")
"""The suffixes of text in a directory; a .json file there mostly describes it (dataset_info.json, state.json)."""

_GZIP = b"\x1f\x8b"
_ARROW = "an Arrow file, as datasets saves it: write it as .parquet (Dataset.to_parquet)"
_OTHERS = {
    b"PAR1": "a parquet file: let its name end in .parquet",
    b"PK\x03\x04": "a zip archive (such as .npz): token ids are read from .npy, text from what is inside",
    b"\x93NUMPY": "an array of numpy: token ids go by --tokens or --calibration, in a file that ends in .npy",
    # UTF-32 comes before UTF-16, as its mark begins with the mark of UTF-16.
    b"\xff\xfe\0\0": "UTF-32 text: save it as UTF-8",
    b"\0\0\xfe\xff": "UTF-32 text: save it as UTF-8",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"%PDF": "a PDF: extract its text first",
    b"ARROW1": _ARROW,
    b"\xff\xff\xff\xff": _ARROW,
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it, or pack it by gzip",
    b"BZh": "packed by bzip2: unpack it, or pack it by gzip",
    b"\xfd7zXZ": "packed by xz: unpack it, or pack it by gzip",
    _GZIP: "packed by gzip twice: unpack it once",
}
"""The first bytes of files of other kinds, with what they are and what to do."""
_BLANK_LINES = re.compile(r"\n\s*\n")
_WIKIEXTRACTOR = re.compile(r"<doc [^>]*>\n(.*?)</doc>", re.DOTALL)


def text_files(path: Path) -> list[Path]:
    """The file `path`, or the sorted visible files of the directory `path` with a suffix of text.

    Raises PrunebenchError if `path` does not exist, or if the directory has no text.
    """
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise PrunebenchError(
                f"{path} is neither a file nor a directory" if path.exists() else f"no such file or directory: {path}"
            )
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None
    if strange := [file.name for file in files if not is_plain_name(file.name)]:
        raise PrunebenchError(f"{path} holds a file called {strange[0]!a}: rename it")
    texts = [file for file in files if _suffix(file) in IN_DIRECTORIES]
    if not texts:
        raise PrunebenchError(
            f"{path} holds no text ({', '.join(IN_DIRECTORIES)}, and .gz of these) directly in it: name a file or "
            "another directory"
        )
    if others := [file.name for file in files if file not in texts]:
        log.info("%s: left out files without a suffix of text: %s", path, ", ".join(others))
    return texts


def own_documents(path: Path, column: str | None = None) -> list[str]:
    """The documents in the file or directory `path`, each file cut by its suffix; unknown suffixes are plain text.

    `column` is the key or column that holds the text (None: "text"). Raises PrunebenchError if a file cannot be read,
    if `column` is given but no file has columns, or if there is no text.
    """
    files = text_files(path)
    if column is not None and not any(_kind_of(file) in COLUMNED for file in files):
        raise PrunebenchError(f"{path} is plain text, which has no column {column!r}: leave the column out")
    documents = [document for file in files for document in _documents(file, _kind_of(file), column or COLUMN)]
    if not documents:
        raise PrunebenchError(f"{path} holds no text: it has nothing but white space")
    return documents


def read_documents(path: Path, kind: DocumentKind, column: str = COLUMN) -> list[str]:
    """The documents in the UTF-8 file `path`, stripped and in file order, without empty ones.

    A document is, by `kind`: `whole`, the file as it is; `lines`, a line; `blank_lines`, a paragraph; `wikiextractor`,
    a `<doc ...>` element; `jsonl` and `parquet`, the text under the key or column `column`; `auto`, one of these by
    suffix. Raises PrunebenchError if the file is not UTF-8, a line or row has no text, or there is no document.
    """
    documents = _documents(path, _kind_of(path) if kind == "auto" else kind, column)
    if not documents:
        raise PrunebenchError(f"{path} holds no document when read as '{kind}': correct 'documents' in the catalog")
    return documents


def read_texts(path: Path, kind: DocumentKind, column: str = COLUMN) -> Iterator[str]:
    """All texts in the file `path`, cut by `kind` (see `read_documents`), neither stripped nor dropped.

    Half of a character (a lone surrogate, which no UTF-8 file can hold) becomes U+FFFD.
    Raises PrunebenchError, which names the line or row, if the file cannot be read.
    """
    with _explained(path):
        match kind:
            case "auto":
                yield from read_texts(path, _kind_of(path), column)
            case "parquet":
                yield from _read_parquet(path, column)
            case "jsonl":
                yield from _read_lines(path, column)
            case _:
                yield from _cut(_read_whole(path), kind)


def one_by_one(texts: Iterable[Any], name: str) -> list[str]:
    """The strings of a user's list, which errors call `name`, as documents.

    Raises PrunebenchError, with the position, if an entry is no string, or if there is no text at all.
    """
    documents = []
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise PrunebenchError(f"{name}: text {number} (counted from 0) is {_in_words(text)}, not a string")
        documents.append(_repaired(text))
    if not any(map(str.strip, documents)):
        raise PrunebenchError(
            f"{name} holds no text: {'it has nothing but white space' if documents else 'it is empty'}"
        )
    return documents


def _kind_of(path: Path) -> DocumentKind:
    return KINDS.get(_suffix(path), "whole")


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _documents(path: Path, kind: DocumentKind, column: str) -> list[str]:
    texts = read_texts(path, kind, column)
    if kind == "whole":
        return [text for text in texts if text.strip()]
    return [document for document in map(str.strip, texts) if document]


def _cut(text: str, kind: DocumentKind) -> list[str]:
    match kind:
        case "lines":
            # Not splitlines(): it also cuts at form feeds and Unicode line separators inside a document.
            return text.split("\n")
        case "blank_lines":
            return _BLANK_LINES.split(text)
        case "wikiextractor":
            return _WIKIEXTRACTOR.findall(text)
        case _:
            return [text]


def _read_whole(path: Path) -> str:
    """The text of a file, plain or gzipped, with line feeds as line ends."""
    with _opened(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The position in the error does not count a byte order mark.
        start = error.start + (len(content) - len(error.object))
        raise _not_utf8(path, _line_number(content, start), error) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise PrunebenchError(f"{path}, line {line}: a zero byte, so this is not UTF-8 text: save it as UTF-8")
    return text


def _read_lines(path: Path, column: str) -> Iterator[str]:
    """The texts under the key `column` of JSON lines, plain or gzipped; blank lines are skipped."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                decoded = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, error) from None
            if decoded and not decoded.isspace():
                yield _text_of(decoded, column, path, number)


def _text_of(line: str, column: str, path: Path, number: int) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        problem = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
        raise PrunebenchError(
            f"{_expected(column, path, number)} on one line, but it is not JSON ({problem})"
        ) from None
    if not isinstance(record, dict):
        raise PrunebenchError(f"{_expected(column, path, number)}, found {_in_words(record)}: write one object a line")
    text = record.get(column)
    if not isinstance(text, str):
        raise _no_text(f"{path}, line {number}", column, "key", record)
    # Only an escape can mean half of a character.
    return _repaired(text) if "\\u" in line else text


def _expected(column: str, path: Path, number: int) -> str:
    return f"{path}, line {number}: expected a JSON object with the key {column!r}"


def _no_text(where: str, column: str, noun: str, record: dict[str, Any]) -> PrunebenchError:
    """The error for a `record` that has no text under `column`."""
    if column not in record:
        return _no_column(where, column, noun, record)
    return PrunebenchError(
        f"{where}: {noun} {column!r} holds {_in_words(record[column])}, not a string: correct it, or name another "
        f"{noun} ('column', --column)"
    )


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    row = 0
    # The file is opened outside `try`: an unreadable file or damaged gzip is no damaged parquet file.
    source = io.BytesIO(gzip.decompress(path.read_bytes())) if _is_packed(path) else path
    try:
        with parquet.ParquetFile(source) as file:
            schema = file.schema_arrow
            if column not in schema.names:
                raise _no_column(str(path), column, "column", schema.names)
            kind = schema.field(column).type
            if not _is_text(kind):
                raise PrunebenchError(
                    f"{path}: column {column!r} holds {' '.join(str(kind).split())}, not text: name another column "
                    "('column', --column)"
                )
            for batch in file.iter_batches(columns=[column]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    if text is None:
                        raise _no_text(f"{path}, row {row}", column, "column", {column: text})
                    yield text
    # A damaged file raises one of these, depending on the place of the damage.
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
        after = f" after row {row}" if row else ""
        raise PrunebenchError(
            f"{path} is not a whole parquet file{after} ({_one_line(error)}): copy or make it again"
        ) from None


def _is_text(kind: Any) -> bool:
    """Whether an arrow type is text, stored plainly or with a dictionary."""
    import pyarrow

    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    tests = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view)
    return any(is_kind(kind) for is_kind in tests)


def _is_packed(path: Path) -> bool:
    """Whether a file is gzipped. Its suffix may not tell: files of a cache are named by their digests."""
    with path.open("rb") as start:
        return start.read(len(_GZIP)) == _GZIP


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for its bytes, unpacked if it is gzipped. PrunebenchError if it begins like another kind of file."""
    with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
        head = cast("Any", file).peek(8)
        for magic, what in _OTHERS.items():
            if head.startswith(magic):
                raise PrunebenchError(f"{path} is {what}")
        yield cast("IO[bytes]", file)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors into a PrunebenchError that says that the file `path` is damaged or cannot be read."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise PrunebenchError(
            f"{path} is a damaged gzip file, or cut short ({_one_line(error)}): copy it again"
        ) from None
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror or _one_line(error)}") from None


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> PrunebenchError:
    byte = error.object[error.start]
    return PrunebenchError(f"{path}, line {line}: not UTF-8 text (byte 0x{byte:02x}, {error.reason}): save it as UTF-8")


def _no_column(where: str, column: str, noun: str, names: Iterable[str]) -> PrunebenchError:
    known = ", ".join(map(repr, names)) or "none"
    if len(known) > 200:
        known = f"{known[:200]}..."
    return PrunebenchError(f"{where}: no {noun} {column!r} (it has: {known}): name another {noun} ('column', --column)")


def _line_number(content: bytes, place: int) -> int:
    """The number of the line that holds the byte at `place`."""
    return len((content[:place] + b".").splitlines())


def _repaired(text: str) -> str:
    """`text` made fit for UTF-8: pairs of surrogates are joined, lone ones replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _in_words(value: Any) -> str:
    """The type of a JSON value in words, for messages."""
    if value is None:
        return "null"
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a string", list: "a list", bytes: "bytes"}
    return names.get(type(value), "an object" if isinstance(value, dict) else f"a {type(value).__name__}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
