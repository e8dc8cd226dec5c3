"""Estimates, on the safe side, of the memory and time that a job needs, from the sizes of its model.

This module does not import torch, because the Snakefile calls it for every job. Nothing here can change a number, so no
spec has any of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError
from prunebench.plan.grid import model_shape

if TYPE_CHECKING:
    from prunebench.config.entries import Shape
    from prunebench.plan.jobs.base import Job


LIBRARIES = 1500
"""MiB of a working process with torch and transformers: 380 after loading, and pages that it has freed since."""
EVALUATED = 400_000
"""Tokens of an evaluation. The test split of WikiText-2 has 340 000 tokens of LLaMA's tokenizer."""
CPU_RATE, GPU_RATE = 2e10, 1e13
"""Operations per second of one core and of a GPU. Measured rates are far higher."""
MIB = 2**20
CORPUS = 2 * 2**30
"""Bytes for the documents of a corpus and their tokens. The first shard of C4 has 0.8 GB of text."""


def block_parameters(shape: Shape) -> int:
    """An upper bound of the weights of a block's linears: keys and values are not shared, and the FFN has a gate."""
    return 4 * shape.hidden * shape.attention + 3 * shape.hidden * shape.ffn


def parameters(shape: Shape) -> int:
    """An upper bound of the weights of a model: its embedding is not tied."""
    return shape.blocks * block_parameters(shape) + 2 * shape.vocabulary * shape.hidden


def memory(job: Job) -> int:
    """An upper bound, in MiB, of the main memory of `job`. On a GPU, much of this is memory of the GPU."""
    shape = _shape(job)
    return LIBRARIES + (_bytes(job.rule, shape, job.tokens) // MIB if shape else 0)


def _shape(job: Job) -> Shape | None:
    """The sizes of the model of `job`; None if it has no model, or one that cannot be read (fetch_model says why)."""
    try:
        return model_shape(job.config.models[job.model]) if job.model else None
    except PrunebenchError:
        return None


def _bytes(rule: str, shape: Shape, tokens: int) -> int:
    """Bytes of a job of `rule` beside its libraries, where `tokens` is the number of its tokens."""
    if rule == "calibrate":
        return CORPUS
    if rule == "gradients":
        return 8 * parameters(shape)  # weights, sums of squares in float32, and activations of a window
    if rule == "train_model":
        return 16 * parameters(shape)  # weights, gradients and two sums of the optimiser, all in float32
    # Copies of a block (stored, in the compute dtype, pruned in float32), embeddings in float32, activations.
    streamed = 16 * block_parameters(shape) + 8 * shape.vocabulary * shape.hidden + 8 * tokens * shape.hidden
    if rule == "profile":
        return streamed
    if rule in ("evaluate", "keep_masks", "search_allocation"):
        # The kernel may count the file of weights as memory of the job. A search keeps ranks of the same size.
        return streamed + 2 * parameters(shape) * (2 if rule == "search_allocation" else 1)
    return streamed + _gram_bytes(shape) + 2 * 2**30  # 2 GiB: the variables of SparseLLM


def _gram_bytes(shape: Shape) -> int:
    """Bytes of the Gram matrices (float64) of a block's four sites, and of a factor and its inverse for the widest."""
    widths = (shape.hidden, shape.attention, shape.hidden, shape.ffn)
    return 8 * (sum(width**2 for width in widths) + 2 * max(widths) ** 2)


def minutes(job: Job, *, gpus: int) -> int:
    """An upper bound of the minutes of `job` with `gpus` GPUs: an hour, and the time of its arithmetic."""
    shape = _shape(job)
    operations = _operations(job.rule, shape, job.tokens) if shape else 0
    return 60 + int(operations / (GPU_RATE if gpus else CPU_RATE) / 60)


def _operations(rule: str, shape: Shape, tokens: int) -> int:
    """Floating-point operations: two per weight and token forward, and twice as many backward."""
    tokens_by_rule = {
        "profile": tokens,
        "gradients": 3 * tokens,
        "train_model": 3 * tokens,
        "search_allocation": tokens,
        "allocate": 10 * tokens,  # the epochs of an allocator that learns
        "prune": 10 * tokens,  # two passes of every method, or the epochs of one that learns
        "evaluate": EVALUATED,
    }
    return 2 * parameters(shape) * tokens_by_rule.get(rule, 0)
