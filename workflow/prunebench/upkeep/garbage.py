"""What earlier runs left that no study wants any more."""

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
"""Names of unfinished work: of files.atomic_path, of the stages' Parts, of staging."""
BLOCKS = ".blocks"


@dataclass(frozen=True)
class Orphan:
    """A file or directory that nobody wants."""

    path: Path
    what: str
    bytes: int


def orphans(plans: Iterable[Plan], *, downloads: bool = False, unfinished: bool = False) -> list[Orphan]:
    """What the pipeline made and none of `plans` wants, by path.

    `downloads` looks in resources/ too. `unfinished` adds what killed jobs of wanted results left, from which the next
    run would resume. What a running job or snakemake has in hand is left out, and so is all that the pipeline does
    not make under this name.
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
    """Delete them, and the directories that become empty by it."""
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
    """Files that may be orphans; directories of unfinished work and of downloads as a whole. Links are not followed."""
    for root in (*MADE, FETCHED) if downloads else MADE:
        for where, directories, files in os.walk(root):
            here = Path(where)
            whole = [name for name in directories if _scratch_of(here / name) or _is_download(here / name)]
            directories[:] = [name for name in directories if name not in whole]
            yield from (here / name for name in (*whole, *files))


def _is_download(directory: Path) -> bool:
    """Whether this is the place of an asset that has arrived."""
    manifest = directory / MANIFEST_NAME
    return graph.maker(manifest) is not None and manifest.is_file() and not directory.is_symlink()


def _scratch_of(path: Path) -> Path | None:
    """The result that unfinished work at `path` was to become; None if `path` is nothing of the kind."""
    possible = []
    if path.name == BLOCKS:
        possible = [path.with_name(Path(paths.PRUNED).name)]
    elif match := _SCRATCH.fullmatch(path.name):
        name = match["name"]
        possible = [path.with_name(name), path.with_name(f"{name}.json"), path.with_name(name) / MANIFEST_NAME]
    return next((result for result in possible if graph.maker(result)), None)


def _is_final(result: Path) -> bool:
    """Whether there is nothing to go on with: a job that failed keeps what it had done for the next try."""
    if not result.exists():
        return False
    return not (result.suffix == ".json" and read_json(result).get("status") == "failed")


def _named(log: Path) -> Iterator[Path]:
    """The files in the command of a job."""
    return map(Path, logs.words(log))


def _below(directory: Path, files: Iterable[Path]) -> bool:
    return any(file.is_relative_to(directory) for file in files)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())
