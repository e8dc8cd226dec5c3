"""Finds and deletes files that earlier runs left and that no study needs any more."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prunebench.assets.manifest import MANIFEST_NAME
from prunebench.plan import graph, paths
from prunebench.plan.plan import Plan
from prunebench.storage.files import read_json
from prunebench.upkeep import locks
from prunebench.view import logs
from prunebench.view.states import running_jobs

MADE, FETCHED = ("results", "logs", "benchmarks"), "resources"
_SCRATCH = re.compile(r"\.+(?P<name>.+?)(\.parts|(\.(text|rows|gguf|download|convert))*\.part)+")
"""Names of unfinished work, which files.atomic_path, the Parts of stages, and staging give."""
BLOCKS = ".blocks"


@dataclass(frozen=True)
class Orphan:
    """A file or directory that no plan needs."""

    path: Path
    what: str
    bytes: int


def orphans(plans: Iterable[Plan], *, downloads: bool = False, unfinished: bool = False) -> list[Orphan]:
    """The files and directories that the pipeline made and that none of `plans` needs, sorted by path.

    With `downloads`, resources/ is searched too. With `unfinished`, the list has also the parts that killed jobs of
    these plans left, from which the next run would resume. It never has files that a running job or snakemake uses, or
    files whose names the pipeline does not give.
    """
    wanted = {path for plan in plans for job in graph.jobs(plan) for path in job.files}
    in_use = locks.locked_files() | {path for job in running_jobs() for path in (job.log, *_named(job.log))}
    kept = wanted | in_use
    found = []
    for path in _candidates(downloads):
        result = _scratch_of(path)
        if result is not None:
            resumable = result in wanted and not _is_final(result)
            if (unfinished or not resumable) and not _below(path.parent, in_use):
                found.append(Orphan(path, f"unfinished {graph.maker(result)}", _size(path)))
        elif path.is_dir():
            if path / MANIFEST_NAME not in wanted and not _below(path, in_use):
                found.append(Orphan(path, "download", _size(path)))
        elif path not in kept and (job := graph.maker(path)):
            found.append(Orphan(path, job.rule, _size(path)))
    return sorted(found, key=lambda orphan: orphan.path)


def delete(found: Iterable[Orphan]) -> None:
    """Delete the files and directories of `found`, and the parent directories that this leaves empty."""
    for orphan in found:
        if orphan.path.is_dir():
            shutil.rmtree(orphan.path)
        else:
            orphan.path.unlink(missing_ok=True)
        for parent in list(orphan.path.parents)[:-2]:
            if any(parent.iterdir()):
                break
            parent.rmdir()


def _candidates(downloads: bool) -> Iterator[Path]:
    """Files that may be orphans. A directory of unfinished work or a download is one item. Links are not followed."""
    for root in (*MADE, FETCHED) if downloads else MADE:
        for where, directories, files in os.walk(root):
            here = Path(where)
            whole = [name for name in directories if _scratch_of(here / name) or _is_download(here / name)]
            directories[:] = [name for name in directories if name not in whole]
            yield from (here / name for name in (*whole, *files))


def _is_download(directory: Path) -> bool:
    """Whether `directory` holds an asset whose download is complete."""
    manifest = directory / MANIFEST_NAME
    return graph.maker(manifest) is not None and manifest.is_file() and not directory.is_symlink()


def _scratch_of(path: Path) -> Path | None:
    """The result that the unfinished work at `path` would have become; None if `path` is no unfinished work."""
    possible = []
    if path.name == BLOCKS:
        possible = [path.with_name(Path(paths.PRUNED).name)]
    elif match := _SCRATCH.fullmatch(path.name):
        name = match["name"]
        possible = [path.with_name(name), path.with_name(f"{name}.json"), path.with_name(name) / MANIFEST_NAME]
    return next((result for result in possible if graph.maker(result)), None)


def _is_final(result: Path) -> bool:
    """Whether no job will resume to make `result`. A failed job keeps its unfinished work for the next try."""
    if not result.exists():
        return False
    return not (result.suffix == ".json" and read_json(result).get("status") == "failed")


def _named(log: Path) -> Iterator[Path]:
    """The words of the command in `log`, which include all files of its job."""
    return map(Path, logs.words(log))


def _below(directory: Path, files: Iterable[Path]) -> bool:
    return any(file.is_relative_to(directory) for file in files)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())
