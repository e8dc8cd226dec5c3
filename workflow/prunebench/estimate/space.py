"""The room on disks that jobs need, checked before any work.

All sizes are lower bounds, so that nobody is refused who has enough: kept weights count only where a method surely
changes them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from prunebench.assets.manifest import WEIGHTS, Manifest
from prunebench.config.sources import HubModelSource
from prunebench.errors import PrunebenchError
from prunebench.estimate import access
from prunebench.estimate.devices import DEVICES
from prunebench.estimate.estimate import Estimate
from prunebench.plan.jobs.base import Job
from prunebench.plan.paths import BLOCKS
from prunebench.plan.plan import Plan

if TYPE_CHECKING:
    from prunebench.storage.layout import Layout


@dataclass(frozen=True)
class Demand:
    """Files that are going to be written."""

    words: str
    """The kind of the files, for a message."""
    folder: Path
    """Where they go. The folder need not exist yet."""
    bytes: float


RULES = ("fetch_model", "calibrate", "gradients", "prune")
"""The rules whose jobs may write files as large as a model."""


def check(demands: Iterable[Demand]) -> None:
    """Raise PrunebenchError if a disk has less room than the `demands` on it."""
    if lines := list(shortages(demands)):
        raise PrunebenchError("\n".join(lines))


def shortages(demands: Iterable[Demand]) -> Iterator[str]:
    """Say of each disk that has less room than the `demands` on it how much is missing, and for which files."""
    disks: dict[int, list[Demand]] = {}
    for demand in demands:
        if demand.bytes:
            disks.setdefault(_existing(demand.folder).stat().st_dev, []).append(demand)
    for on_disk in disks.values():
        folder, total = _existing(on_disk[0].folder).absolute(), sum(demand.bytes for demand in on_disk)
        if total > (free := shutil.disk_usage(folder).free):
            listed = ", ".join(f"{demand.words} at least {decimal(int(demand.bytes))}" for demand in on_disk)
            yield (
                f"the disk of {folder} has too little room: {decimal(free)} are free, and this work writes at least "
                f"{decimal(int(total))} ({listed}). Free another {decimal(int(total - free))} there and run again"
            )


def demands(plan: Plan, jobs: Iterable[Job], results: Path = Path()) -> Iterator[Demand]:
    """Find the large files that `jobs` write below the directory `results` and into the cache of downloads.

    None of the jobs is done. Jobs of other rules than RULES write little.
    """
    estimate, jobs = Estimate(plan, DEVICES["cpu"]), list(jobs)
    fetched = [job.model for job in jobs if job.rule == "fetch_model"]
    yield Demand("downloads", _hub_cache(), sum(_download(estimate, model) for model in fetched))
    copies = sum(_weights(estimate, model) for model in fetched if access.is_pickled(estimate, model))
    yield Demand("copies of pickled weights", results, copies)
    pruned = [job for job in jobs if job.rule == "prune"]
    kept = [estimate.surely_kept_of(job.cell) for job in pruned]
    # The blocks of a killed job.
    there = sum(_size(results / job.outputs[0].parent / BLOCKS) for job in pruned)
    setting = estimate.plan.config.keep_weights
    # While the blocks of a cell become one file, the blocks and the file are both there.
    largest = max(kept, key=lambda sizes: sizes["packed"], default={"packed": 0.0, "none": 0.0, "mask": 0.0})
    yield Demand("pruned weights", results, sum(sizes[setting] for sizes in kept))
    running = 2 * largest["packed"] - largest[setting] - there
    yield Demand("temporary copies of weights", results, max(0.0, running))
    for words, rule in (("calibration with images", "calibrate"), ("gradients", "gradients")):
        yield Demand(words, results, sum(estimate.cost(job).disk for job in jobs if job.rule == rule))


def dense_copy(manifest: Manifest, folder: Path) -> Demand:
    """Find the room that the copy of a model with zeros in place takes in `folder`, if its dtype stays."""
    weights = sum(record.bytes for name, record in manifest.files.items() if name.endswith(WEIGHTS))
    return Demand("the pruned model", folder, weights)


def dense_model(layout: Layout, folder: Path) -> Demand:
    """Find the room that a dense copy of a model takes in `folder`."""
    sizes = (prod(place.shape) * int(place.dtype.strip("BFIU")) // 8 for place in layout.places.values())
    return Demand("the model", folder, sum(sizes))


def _download(estimate: Estimate, name: str) -> float:
    """Compute the bytes that are still to come of a model from the hub; 0 for any other model."""
    source = estimate.plan.config.models[name].source
    if not isinstance(source, HubModelSource):
        return 0.0
    arrived = _size(_hub_cache() / f"models--{source.repo.replace('/', '--')}" / "blobs")
    return max(0.0, _weights(estimate, name) - arrived)


def _weights(estimate: Estimate, name: str) -> float:
    """Compute the least bytes of the weights of a model; 0 if its sizes are not known before it is here."""
    if estimate.plan.config.models[name].shape is None:
        return 0.0
    model = estimate.model(name)
    embedding = model.outside / 2  # the head may be the embedding
    return (model.prunable + embedding) * model.item


def _hub_cache() -> Path:
    """Find the folder of huggingface_hub's downloads as it does, without its import, which takes a second."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()


def _size(folder: Path) -> int:
    """Add up the bytes of the files in a folder, which need not exist."""
    return sum(file.stat().st_size for file in folder.glob("*"))


def _existing(folder: Path) -> Path:
    """Find the folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
