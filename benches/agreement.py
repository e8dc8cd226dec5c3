"""Checking that two versions computed the same, because a comparison of speed means nothing otherwise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean

import torch
from safetensors.torch import save_file
from torch import Tensor

from benches.commands import Job
from prunebench.plan import paths
from prunebench.storage.files import read_json
from prunebench.storage.tensors import PackedStore, TensorStore

Agreement = dict[str, float]


def pruning(model: Path, judge: Callable[[Path], Job], plain: Job, ours: Job) -> Agreement:
    """Fraction of weights that are zero in both or in neither, in the first block and in all; change of perplexity.

    The first block sees the same inputs in both; after it the roundings of one block are the inputs of the next.
    `judge` makes the plain perplexity job for a checkpoint of dense tensors.
    """
    packed = ours.result.with_name(Path(paths.WEIGHTS).name)
    theirs, own = TensorStore(plain.result), PackedStore(packed, TensorStore(model, torch.bfloat16))
    equal = {name: (theirs[name] == 0) == (own[name] == 0) for name in theirs}
    unpacked = plain.result.with_suffix(".ours.safetensors")
    save_file(dict(own.items()), unpacked)
    return {
        "first_block": _mean(mask for name, mask in equal.items() if ".0." in name),
        "masks": _mean(equal.values()),
        "perplexity": _change(_judged(judge(plain.result)), _judged(judge(unpacked), again=True)),
    }


def perplexity(plain: Job, ours: Job) -> Agreement:
    """Compute the change of perplexity over all corpora."""
    theirs = read_json(plain.result)
    own = {score["task"]: score["details"]["window_losses"] for score in read_json(ours.result)["scores"]}
    return {"perplexity": _change(theirs, own)}


def zeroshot(plain: Job, ours: Job) -> Agreement:
    """Compute the change of the mean accuracy over the tasks."""
    theirs = read_json(plain.result)["acc"]
    own = {score["task"]: score["value"] for score in read_json(ours.result)["scores"] if score["metric"] == "acc"}
    return {"accuracy": fmean(own[task] - theirs[task] for task in theirs)}


def _mean(masks: Iterable[Tensor]) -> float:
    return torch.cat([mask.flatten() for mask in masks]).float().mean(dtype=torch.float64).item()


def _judged(job: Job, *, again: bool = False) -> dict[str, list[float]]:
    """Run the job for its losses, or read those of an earlier run unless `again`: several jobs need the plain ones."""
    if again or not job.result.exists():
        job.run()
    losses: dict[str, list[float]] = read_json(job.result)
    return losses


def _change(before: Mapping[str, list[float]], after: Mapping[str, list[float]]) -> float:
    """Compute the relative growth of the perplexity over all windows of all corpora: 0.01 for one per cent."""
    losses = (fmean(itertools.chain.from_iterable(of.values())) for of in (after, before))
    return math.expm1(next(losses) - next(losses))
