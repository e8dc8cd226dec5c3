"""Fetches models, corpora and tasks for commands without Snakemake, from the project's downloads or into a cache."""

from __future__ import annotations

import shutil
from pathlib import Path

from prunebench.assets.manifest import MANIFEST_NAME, Manifest, load_manifest
from prunebench.config.sources import PathSource
from prunebench.errors import PrunebenchError
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.stages.run import run
from prunebench.standalone.request import PROJECT
from prunebench.storage.digests import user_cache
from prunebench.storage.locks import in_turn
from prunebench.storage.staging import staging


def arrive(plan: Plan, asset: str, root: Path) -> Path:
    """Fetch `asset` (models/NAME, corpora/NAME or tasks/NAME) unless it is on disk, and return its asset.json.

    A local path is read again every time, and its asset.json is written below `root`. A download that the project
    has is used as it is. Other downloads go into the cache: in the project, Snakemake would not know them. If several
    processes ask for the same asset, one fetches it and the others wait.
    """
    kind, name = asset.split("/")
    job = plan.asset(asset)
    if isinstance(getattr(plan.config, kind)[name].source, PathSource):
        path = root / job.outputs[0]
        with in_turn(path.parent, asset):
            _look_again(job, path)
        return path
    ready, path = (home / job.outputs[0] for home in (PROJECT, user_cache()))
    if _complete(ready, job):
        return ready
    if not _complete(path, job):
        with in_turn(path.parent, asset):
            if not _complete(path, job):  # another process may have fetched it meanwhile
                run(job, asset=path, training=None)
    return path


def _look_again(job: Job, path: Path) -> None:
    """Bring the asset.json at `path` up to date with its local path.

    If nothing has changed, the files stay, because another process may be reading them.
    """
    with staging(path.parent, "look") as scratch:
        run(job, asset=scratch / MANIFEST_NAME)
        if not (_complete(path, job) and path.read_bytes() == (scratch / MANIFEST_NAME).read_bytes()):
            shutil.rmtree(path.parent, ignore_errors=True)
            scratch.rename(path.parent)


def _complete(path: Path, job: Job) -> bool:
    """Whether the asset at `path` was fetched with the spec of `job` and all its files still exist."""
    try:
        return load_manifest(path).spec_hash == job.spec_hash
    except PrunebenchError:
        return False


def resolved(path: Path, title: str) -> Manifest:
    """Return the manifest at `path` with an absolute directory, and with `title`, which no spec contains."""
    manifest = load_manifest(path)
    return manifest.model_copy(update={"directory": manifest.directory.resolve(), "title": title})
