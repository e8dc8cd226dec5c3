"""Finds and deletes files of earlier runs that no study needs any more."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prunebench.assets.manifest import MANIFEST_NAME
from prunebench.plan import graph, paths
from prunebench.plan.plan import Plan
from prunebench.storage.locks import is_locked
from prunebench.storage.sealed import read_if_whole
from prunebench.upkeep import locks
from prunebench.view import logs
from prunebench.view.states import running_jobs

MADE, FETCHED = ("results", "logs", "benchmarks"), "resources"
_SCRATCH = re.compile(r"\.+(?P<name>.+?)(\.parts|(\.(text|rows|gguf|download|convert))*\.part\d*|\.lock)+")
"""The names of unfinished work of files.atomic_path, of Parts, and of staging, and of their locks."""
BLOCKS = ".blocks"


@dataclass(frozen=True)
class Orphan:
    """A file or directory that no study needs."""

    path: Path
    kind: str
    """The rule that wrote it, or "download", or "unfinished" and the job."""
    bytes: int


def orphans(plans: Iterable[Plan], *, downloads: bool = False, unfinished: bool = False) -> list[Orphan]:
    """Files of the pipeline that none of `plans` needs, sorted by path.

    With `downloads` they include files in resources/. With `unfinished` they include files of killed jobs from which
    the next run would resume. Files that a running job or snakemake uses, and files whose names the pipeline does not
    write, are left out.
    """
    needed = {path for plan in plans for job in graph.jobs(plan) for path in job.files}
    in_use = locks.locked_files() | {path for job in running_jobs() for path in (job.log, *_named(job.log))}
    kept = needed | in_use
    unneeded = []
    for path in _candidates(downloads):
        result = _scratch_of(path)
        if result is not None:
            resumable = result in needed and not _is_final(result)
            if (unfinished or not resumable) and not _below(path.parent, in_use) and not is_locked(path):
                unneeded.append(Orphan(path, f"unfinished {graph.maker(result)}", _size(path)))
        elif path.is_dir():
            if path / MANIFEST_NAME not in needed and not _below(path, in_use):
                unneeded.append(Orphan(path, "download", _size(path)))
        elif path not in kept and (job := graph.maker(path)):
            unneeded.append(Orphan(path, job.rule, _size(path)))
    return sorted(unneeded, key=lambda orphan: orphan.path)


def delete(unneeded: Iterable[Orphan]) -> None:
    """Delete files and directories, and the directories above them that become empty.

    Something that another process deletes meanwhile, or a directory into which it writes, is no error.
    """
    for orphan in unneeded:
        if orphan.path.is_dir():
            shutil.rmtree(orphan.path, onerror=_raise_unless_absent)
        else:
            orphan.path.unlink(missing_ok=True)
        for parent in list(orphan.path.parents)[:-2]:
            try:
                parent.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                break


def _candidates(downloads: bool) -> Iterator[Path]:
    """Files that may be orphans, and whole directories of unfinished work and of downloads. Links are not followed."""
    for root in (*MADE, FETCHED) if downloads else MADE:
        for path, directories, files in os.walk(root):
            folder = Path(path)
            whole = [name for name in directories if _scratch_of(folder / name) or _is_download(folder / name)]
            directories[:] = [name for name in directories if name not in whole]
            yield from (folder / name for name in (*whole, *files))


def _is_download(directory: Path) -> bool:
    """Whether `directory` is that of an asset that has arrived."""
    manifest = directory / MANIFEST_NAME
    return graph.maker(manifest) is not None and manifest.is_file() and not directory.is_symlink()


def _scratch_of(path: Path) -> Path | None:
    """The result of which `path` is unfinished work; None if it is no unfinished work."""
    possible = []
    if path.name == BLOCKS:
        possible = [path.with_name(Path(paths.PRUNED).name)]
    elif match := _SCRATCH.fullmatch(path.name):
        name = match["name"]
        possible = [path.with_name(name), path.with_name(f"{name}.json"), path.with_name(name) / MANIFEST_NAME]
    return next((result for result in possible if graph.maker(result)), None)


def _is_final(result: Path) -> bool:
    """Whether `result` is complete. A job that failed is not: its next try goes on from its unfinished work."""
    if not result.exists():
        return False
    record = read_if_whole(result) if result.suffix == ".json" else {}
    return record is not None and record.get("status") != "failed"


def _named(log: Path) -> Iterator[Path]:
    """The words, taken as paths, in the command of a job: all its files are among them."""
    return map(Path, logs.words(log))


def _below(directory: Path, files: Iterable[Path]) -> bool:
    return any(file.is_relative_to(directory) for file in files)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(map(_bytes, files))


def _bytes(file: Path) -> int:
    try:
        status = file.lstat()
    except FileNotFoundError:  # its job has just ended
        return 0
    return 0 if stat.S_ISDIR(status.st_mode) else status.st_size


def _raise_unless_absent(function: object, path: object, error: tuple[object, BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
