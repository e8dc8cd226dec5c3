"""What a job asks of the machine: GPUs, memory and time, from the sizes of its model. Estimates on the safe side.

Light: the Snakefile calls this for every job. Nothing here can change a number, so none of it is in a spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError
from prunebench.plan.grid import model_shape

if TYPE_CHECKING:
    from prunebench.config.entries import Shape
    from prunebench.plan.jobs.base import Job


LIBRARIES = 1500
"""MiB of a process with torch and transformers that has done something: 380 when loaded, the rest is freed pages."""
EVALUATED = 400_000
"""Tokens of an evaluation: the test split of WikiText-2 has 340 000 of LLaMA's."""
CPU_RATE, GPU_RATE = 2e10, 1e13
"""Operations per second that a job gets at least, of one core and of a GPU: far below what was measured."""
MIB = 2**20
CORPUS = 2 * 2**30
"""Bytes of the documents of a corpus: the first shard of C4 has 0.8 GB of text, and tokens of a part of it."""


def block_parameters(shape: Shape) -> int:
    """Weights of a block's linears, as if keys and values were not shared and the FFN had a gate: at most so many."""
    return 4 * shape.hidden * shape.attention + 3 * shape.hidden * shape.ffn


def parameters(shape: Shape) -> int:
    """Weights of a model, as if its embedding were not tied: at most so many."""
    return shape.blocks * block_parameters(shape) + 2 * shape.vocabulary * shape.hidden


def memory(job: Job) -> int:
    """MiB of main memory that `job` takes at most; on a GPU much of it is the GPU's."""
    shape = _shape(job)
    return LIBRARIES + (_bytes(job.rule, shape, job.tokens) // MIB if shape else 0)


def _shape(job: Job) -> Shape | None:
    """The sizes of the model of `job`; None without a model, or if it cannot be read yet: fetch_model says why."""
    try:
        return model_shape(job.config.models[job.model]) if job.model else None
    except PrunebenchError:
        return None


def _bytes(rule: str, shape: Shape, tokens: int) -> int:
    """Bytes beyond the libraries'."""
    if rule == "calibrate":
        return CORPUS
    if rule == "gradients":
        return 8 * parameters(shape)  # weights, their squares' sums in float32, and what one window leaves
    if rule == "train_model":
        return 16 * parameters(shape)  # in float32: weights, their gradients, and two sums of the optimiser
    # The block as stored, computed with, and pruned in float32; embeddings in float32; what passes between blocks.
    streamed = 16 * block_parameters(shape) + 8 * shape.vocabulary * shape.hidden + 8 * tokens * shape.hidden
    if rule == "profile":
        return streamed
    if rule in ("evaluate", "keep_masks", "search_allocation"):
        # The weights' file, which the kernel may count as the job's; a search keeps as much of ranks.
        return streamed + 2 * parameters(shape) * (2 if rule == "search_allocation" else 1)
    return streamed + _gram_bytes(shape) + 2 * 2**30  # prune, or an allocator that does; SparseLLM's variables


def _gram_bytes(shape: Shape) -> int:
    """Second moments of the inputs of a block's four sites, in float64; of the widest also a factor and its inverse."""
    widths = (shape.hidden, shape.attention, shape.hidden, shape.ffn)
    return 8 * (sum(width**2 for width in widths) + 2 * max(widths) ** 2)


def minutes(job: Job, *, gpus: int) -> int:
    """Minutes that `job` takes at most, with so many GPUs: an hour, and the time of its arithmetic."""
    shape = _shape(job)
    operations = _operations(job.rule, shape, job.tokens) if shape else 0
    return 60 + int(operations / (GPU_RATE if gpus else CPU_RATE) / 60)


def _operations(rule: str, shape: Shape, tokens: int) -> int:
    """Floating-point operations: two per weight and token forward, twice that backward."""
    passes = {
        "profile": tokens,
        "gradients": 3 * tokens,
        "train_model": 3 * tokens,
        "search_allocation": tokens,
        "allocate": 10 * tokens,  # the epochs of an allocator that learns
        "prune": 10 * tokens,  # two of every method, and the epochs of those that learn
        "evaluate": EVALUATED,
    }
    return 2 * parameters(shape) * passes.get(rule, 0)
