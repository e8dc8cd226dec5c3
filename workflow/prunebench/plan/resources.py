"""Estimates, on the safe side, of the memory and time that a job needs, from the sizes of its model.

This module does not import torch, because the Snakefile calls it for every job. Nothing here can change a number, so no
spec has any of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError
from prunebench.plan.grid import model_shape
from prunebench.plan.sizes import parameters

if TYPE_CHECKING:
    from prunebench.config.entries import Shape
    from prunebench.plan.jobs.base import Job


LIBRARIES = 1500
"""MiB of a working process with torch and transformers: 380 after loading, and pages that it has freed since."""
CPU_RATE, GPU_RATE = 2e10, 1e13
"""Operations per second of one core and of a GPU. Measured rates are far higher."""
READING = 1e8
"""Bytes of weights per second from a slow file system that a cluster's nodes share."""
MIB = 2**20


def memory(job: Job) -> int:
    """An upper bound, in MiB, of the main memory of `job`. On a GPU, much of this is memory of the GPU."""
    shape = _shape(job)
    return LIBRARIES + (job.bytes(shape) // MIB if shape else 0)


def _shape(job: Job) -> Shape | None:
    """The sizes of the model of `job`; None if it has no model, or one that cannot be read (fetch_model says why)."""
    try:
        return model_shape(job.config.models[job.model]) if job.model else None
    except PrunebenchError:
        return None


def minutes(job: Job, *, gpus: int) -> int:
    """An upper bound of the minutes of `job` with `gpus` GPUs: an hour, and the time to read weights and to compute.

    A weight takes two bytes, and a forward pass two floating-point operations per weight and token.
    """
    shape = _shape(job)
    weights = parameters(shape) if shape else 0
    seconds = 2 * weights / READING + 2 * weights * job.forward_tokens / (GPU_RATE if gpus else CPU_RATE)
    return 60 + int(seconds / 60)


def check_threads(jobs: Iterable[Job], cores: int) -> None:
    """Raise PrunebenchError if one of `jobs` computes with more threads than a run on `cores` cores gives it.

    A job with fewer threads would compute other numbers, and Snakemake deletes its old results before it starts.
    """
    most = max((job.threads for job in jobs), default=0)
    if most > cores:
        raise PrunebenchError(
            f"the config says threads: {most}, but a run with --cores {cores} gives a job {cores} at most: run "
            f"snakemake with --cores {most} or more, or change compute.threads in the config"
        )
