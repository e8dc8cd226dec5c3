"""Rows of questions about images: the columns of known data sets become one form, and images one archive.

A row has `image` (a name in the archive) and `question`, and either `answers`, which people have given, or `choices`
and `answer`, the index of the right one. It may have `hint` and `ocr_tokens`. The archive is a ZIP file with stored,
not compressed, members, which are named by the SHA-256 of their content, so that images of several rows are kept once.
"""

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prunebench.assets.tasks import Row
from prunebench.errors import PrunebenchError
from prunebench.storage.sealed import Damaged

LETTERS = "ABCDE"
"""The letters of choices, in order. No question of ScienceQA has more choices."""
ARCHIVE = "images.zip"
"""The file of all images of a bundle."""
BATCH = 64
"""The number of rows of a parquet file that are in memory at once."""


class Pictures:
    """The images of a bundle of tasks, by their names in rows."""

    def __init__(self, directory: Path) -> None:
        """`directory` is that of the bundle. Raises Damaged if its archive cannot be opened."""
        self._path = directory / ARCHIVE
        try:
            self._archive = zipfile.ZipFile(self._path)
        except (OSError, zipfile.BadZipFile) as error:
            raise Damaged(self._path, f"cannot be read ({error})") from None

    def read(self, name: str) -> bytes:
        """The content of the image file `name`. Raises Damaged if the archive does not hold it whole."""
        try:
            return self._archive.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise Damaged(self._path, f"has no whole image {name} ({error})") from None


class Archive:
    """An archive of images that is being written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive, self._names = archive, set[str]()

    def add(self, content: bytes) -> str:
        """Write the image, unless it is there already, and return its name."""
        name = hashlib.sha256(content).hexdigest()
        if name not in self._names:
            self._names.add(name)
            # A fixed time, so that the archive has one digest.
            self._archive.writestr(zipfile.ZipInfo(name), content)
        return name


def image_rows(path: Path, form: str, pictures: Mapping[str, Path], archive: Archive) -> list[Row]:
    """The rows in `path` (parquet, or a JSON array) in one form, without those that have no image.

    `form` is one of `config.tasks.ImageRows`. `pictures` are the image files by number, if the rows do not hold their
    images, which go into `archive`. Raises PrunebenchError if the file is damaged or of another form.
    """
    try:
        rows = []
        for record in _records(path):
            content, row = FORMS[form](record, pictures)
            if content is not None:
                rows.append({"image": archive.add(content), **row})
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise PrunebenchError(f"{path} does not hold rows of {form!r}: {type(error).__name__}: {error}") from error
    if not rows:
        raise PrunebenchError(f"{path} holds no rows with images")
    return rows


def _records(path: Path) -> Iterator[Any]:
    if path.suffix != ".parquet":
        from prunebench.assets.tasks import read_rows

        yield from read_rows(path)
        return
    from pyarrow import parquet  # its errors are ValueErrors

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from batch.to_pylist()


def _bytes(record: Row) -> bytes | None:
    """The image in the column `image`, as the library datasets stores it; None if the row has none."""
    image = record["image"]
    if image is None:
        return None
    if not isinstance(image["bytes"], bytes) or not image["bytes"]:
        raise ValueError("the image of a row has no bytes")
    return image["bytes"]


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{column}: {value!r} is no text")
    return value


def _texts(values: Any, column: str) -> list[str]:
    if not isinstance(values, list):
        raise ValueError(f"{column}: {values!r} is no list of texts")
    return [_text(value, column) for value in values]


def _answers(values: Any) -> list[str]:
    """The answers that people have given: texts, or as VQAv2 has them, objects with a text."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"answers: {values!r} is no list of answers")
    return _texts([value["answer"] if isinstance(value, dict) else value for value in values], "answers")


def _easy_vqa(record: Any, pictures: Mapping[str, Path]) -> tuple[bytes | None, Row]:
    if not isinstance(record, list):
        raise ValueError(f"{record!r} is no list of a question, an answer and the number of an image")
    question, answer, number = record
    row = {"question": _text(question, "question"), "answers": _answers([answer])}
    return pictures[str(number)].read_bytes(), row


def _vqav2(record: Row, _: Mapping[str, Path]) -> tuple[bytes | None, Row]:
    row = {"question": _text(record["question"], "question"), "answers": _answers(record["answers"])}
    return _bytes(record), row


def _textvqa(record: Row, pictures: Mapping[str, Path]) -> tuple[bytes | None, Row]:
    content, row = _vqav2(record, pictures)
    return content, {**row, "ocr_tokens": _texts(record["ocr_tokens"], "ocr_tokens")}


def _scienceqa(record: Row, _: Mapping[str, Path]) -> tuple[bytes | None, Row]:
    choices, answer, hint = _texts(record["choices"], "choices"), record["answer"], record.get("hint")
    if type(answer) is not int or not 0 <= answer < len(choices):  # True is no number of a choice
        raise ValueError(f"the answer {answer!r} is the number of none of {len(choices)} choices")
    if len(choices) > len(LETTERS):
        raise ValueError(f"{len(choices)} choices are more than the letters {LETTERS}")
    row = {
        "question": _text(record["question"], "question"),
        "choices": choices,
        "answer": answer,
        "hint": "" if hint is None else _text(hint, "hint"),
    }
    return _bytes(record), row


FORMS: Mapping[str, Callable[[Any, Mapping[str, Path]], tuple[bytes | None, Row]]] = {
    "easy_vqa": _easy_vqa,
    "scienceqa": _scienceqa,
    "textvqa": _textvqa,
    "vqav2": _vqav2,
}
"""A function for each form from a record, and the image files by number, to the image and the row."""
