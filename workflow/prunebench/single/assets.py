"""Models, corpora and tasks for commands outside a workflow: the project's downloads, or the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from prunebench import paths
from prunebench.assets.manifest import Manifest, load_manifest
from prunebench.canonical import spec_hash
from prunebench.catalog import PathSource
from prunebench.config import Config
from prunebench.errors import PrunebenchError
from prunebench.single.request import PROJECT
from prunebench.spec import Specs
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.stages.fetch_tasks import fetch_tasks

_FETCH = {"models": fetch_model, "corpora": fetch_corpus, "tasks": fetch_tasks}


def cache() -> Path:
    """Where downloads and unfinished evaluations are kept: $PRUNEBENCH_CACHE, or the system's place for caches."""
    return Path(os.environ.get("PRUNEBENCH_CACHE") or platformdirs.user_cache_dir("prunebench"))


def arrive(config: Config, specs: Specs, asset: str, root: Path) -> Path:
    """The asset.json of `asset` (models/NAME, corpora/NAME or tasks/NAME), fetched if it is not here.

    What comes from a local path is looked at again every time, and noted under `root` only. A download that the
    project has is used as it is; others go into the cache, never into the project: Snakemake would not know them.
    """
    kind, name = asset.split("/")
    spec = specs.asset(asset)
    if isinstance(getattr(config, kind)[name].source, PathSource):
        path = root / paths.ASSET.format(asset=asset)
        _FETCH[kind](spec, path.parent)
        return path
    for home in (PROJECT, cache()):
        path = home / paths.ASSET.format(asset=asset)
        if path.exists() and _complete(path, spec):
            return path
    _FETCH[kind](spec, path.parent)
    return path


def _complete(path: Path, spec: str) -> bool:
    """Whether the asset at `path` was fetched as `spec` says, and all of it is still there."""
    try:
        return load_manifest(path).spec_hash == spec_hash(spec)
    except PrunebenchError:
        return False


def resolved(path: Path) -> Manifest:
    """The manifest at `path`, its directory absolute: it can be written elsewhere."""
    manifest = load_manifest(path)
    return manifest.model_copy(update={"directory": manifest.directory.resolve()})
