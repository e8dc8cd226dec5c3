"""Stage fetch_tasks: turn a catalog entry into rows of each task and split (JSON lines), tasks.json and asset.json."""

import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from prunebench.assets.manifest import Manifest, describe_files, write_manifest
from prunebench.assets.pictures import ARCHIVE, Archive, image_rows
from prunebench.assets.tasks import (
    PICTURES,
    Row,
    local_row_files,
    read_rows,
    row_files,
    stock_definitions,
    write_rows,
)
from prunebench.identity.canonical import spec_hash
from prunebench.plan.jobs.assets import FetchTasksSpec
from prunebench.storage.files import write_json
from prunebench.storage.staging import empty_directory, staging


def fetch_tasks(spec: str, *, asset: Path) -> None:
    """Fetch the rows that `spec` (canonical JSON) describes as NAME.SPLIT.jsonl beside `asset`, which is written last.

    tasks.json says for each task which NAMEs it has (one per subject) and which stock definitions they are for.
    Raises PrunebenchError if a file cannot be fetched or read.
    """
    settings = FetchTasksSpec.model_validate_json(spec)
    entry = settings.entry
    dest = asset.parent
    empty_directory(dest)
    rows: dict[str, list[Row]] = {}
    with staging(dest, "rows") as scratch:
        files = row_files(entry, scratch, dest)
        with ExitStack() as stack:
            archive = cache(lambda: Archive(stack.enter_context(zipfile.ZipFile(dest / ARCHIVE, "w"))))
            for name, file in files.items():
                task, split = name.split(".")[:2]
                if split == PICTURES:
                    continue
                data = entry.tasks.get(task)
                if data is not None and data.images is not None:
                    part = image_rows(file, data.images, _pictures(files, task), archive())
                else:
                    part = read_rows(file, data.requests if data else None)
                rows.setdefault(f"{task}.{split}", []).extend(part)
    for name, part in rows.items():
        write_rows(dest / f"{name}.jsonl", part)
    names = {name.split(".")[0] for name in rows}
    stock = {task: stock_definitions(task, data, names) for task, data in entry.tasks.items()}
    write_json(dest / "tasks.json", stock)
    manifest = Manifest(
        spec_hash=spec_hash(spec),
        title=entry.title,
        directory=Path(),
        files=describe_files(sorted(dest.iterdir())),
        source=entry.source,
        rows={name: len(part) for name, part in rows.items()},
    )
    settings.check(list(local_row_files(entry).values()))
    write_manifest(manifest, dest)


def _pictures(files: Mapping[str, Path], task: str) -> dict[str, Path]:
    """The image files of `task` by number."""
    start = f"{task}.{PICTURES}."
    return {name.removeprefix(start).split(".")[0]: file for name, file in files.items() if name.startswith(start)}
