"""Models, corpora and tasks for commands outside a workflow: the project's downloads, or the user's cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import platformdirs

from prunebench.assets.manifest import MANIFEST_NAME, Manifest, load_manifest
from prunebench.config.entries import PathSource
from prunebench.errors import PrunebenchError
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.stages.run import run
from prunebench.standalone.request import PROJECT
from prunebench.storage.files import read_json
from prunebench.storage.locks import in_turn
from prunebench.storage.staging import staging


def cache() -> Path:
    """Where downloads and unfinished evaluations are kept: $PRUNEBENCH_CACHE, or the system's place for caches."""
    return Path(os.environ.get("PRUNEBENCH_CACHE") or platformdirs.user_cache_dir("prunebench"))


def arrive(plan: Plan, asset: str, root: Path) -> Path:
    """The asset.json of `asset` (models/NAME, corpora/NAME or tasks/NAME), fetched if it is not here.

    What comes from a local path is looked at again every time, and noted under `root` only. A download that the
    project has is used as it is; others go into the cache, never into the project: Snakemake would not know them.
    Of several processes that want the same, one fetches it and the others wait.
    """
    kind, name = asset.split("/")
    job = plan.asset(asset)
    if isinstance(getattr(plan.config, kind)[name].source, PathSource):
        path = root / job.outputs[0]
        with in_turn(path.parent, asset):
            _look_again(job, path)
        return path
    ready, path = (home / job.outputs[0] for home in (PROJECT, cache()))
    if _complete(ready, job):
        return ready
    if not _complete(path, job):
        with in_turn(path.parent, asset):
            if not _complete(path, job):  # another process may have fetched it meanwhile
                run(job, asset=path, training=None)
    return path


def _look_again(job: Job, path: Path) -> None:
    """Make the asset.json at `path`, and what it describes, those of a local path as it is now.

    What is there already is left alone if it would be the same: another process may be reading it.
    """
    with staging(path.parent, "look") as scratch:
        run(job, asset=scratch / MANIFEST_NAME)
        if not (_complete(path, job) and read_json(path) == read_json(scratch / MANIFEST_NAME)):
            shutil.rmtree(path.parent, ignore_errors=True)
            scratch.rename(path.parent)


def _complete(path: Path, job: Job) -> bool:
    """Whether the asset at `path` was fetched as the spec of `job` says, and all of it is still there."""
    try:
        return load_manifest(path).spec_hash == job.spec_hash
    except PrunebenchError:
        return False


def resolved(path: Path, title: str) -> Manifest:
    """The manifest at `path` with the model's own title, which no spec holds; its directory is absolute."""
    manifest = load_manifest(path)
    return manifest.model_copy(update={"directory": manifest.directory.resolve(), "title": title})
