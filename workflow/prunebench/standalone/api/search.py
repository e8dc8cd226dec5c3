"""The function `prunebench.search`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from prunebench.standalone.api.calling import Device, Progress, called, settings
from prunebench.standalone.api.inputs import Model, check_model, placed
from prunebench.standalone.arguments import check_arguments
from prunebench.standalone.search import ALLOCATORS, SearchRequest, run_search, search_job, search_options


@dataclass(frozen=True)
class Found:
    """The allocation that a search found. `prune` takes it as `allocator` and `allocator_params`."""

    candidate: str
    """The function of DSA's language, or the slope."""
    allocator: str
    allocator_params: dict[str, Any]
    perplexity: float
    """The perplexity on the tuning split with one-shot masks of this allocation."""
    uniform: float
    """The perplexity of one-shot masks of equal sparsity."""
    record: dict[str, Any]
    """The whole result, with the history of the search."""


def search(
    model: Model,
    sparsity: float,
    *,
    space: Literal["functions", "slopes"] = "functions",
    strategy: Literal["evolution", "random", "grid"] = "evolution",
    evaluations: int = 100,
    corpus: str = "c4_type",
    samples: int = 16,
    windows: int = 8,
    seqlen: int = 512,
    seed: int = 0,
    tokenizer: Any = None,
    dtype: str | torch.dtype = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
    device: Device = None,
    progress: Progress = None,
) -> Found:
    """Search for the best sparsity of each block of `model`, with the mean `sparsity`, by trial masks on held-out text.

    `space` is "functions" (for allocator dsa) or "slopes" (for atp), and `strategy` says how it is searched, in at most
    `evaluations` runs of the model, with random numbers from `seed`. Statistics come from `samples` windows of the
    calibration split of `corpus`, and `windows` windows of its tuning split judge. The result is kept: a repeated call
    goes on, or answers at once.

    Raises PrunebenchError for a request that cannot be met, or if the search finds nothing.
    """
    least = {"evaluations": 1, "samples": 1, "windows": 1, "seqlen": 2, "seed": 0, "batch_size": 1, "threads": 1}
    counts = {"evaluations": evaluations, "samples": samples, "windows": windows, "seqlen": seqlen, "seed": seed}
    counts |= {"batch_size": batch_size, **({} if threads is None else {"threads": threads})}
    words = {"space": space, "strategy": strategy, "corpus": corpus}
    check_arguments(least, {**counts, **words, "sparsity": sparsity, "dtype": dtype})
    check_model(model, tokenizer)
    with called(device, progress), placed(model, tokenizer) as place:
        options = search_options(space, strategy, evaluations, corpus, samples, windows, seqlen)
        compute = settings(dtype, batch_size, threads)
        request = SearchRequest(place.name, sparsity, seed, options, compute, stored=place.stored)
        job = search_job(request)
        place.require_tokenizer()
        place.save()
        record = run_search(job)
    best, (allocator, parameter) = record["best"], ALLOCATORS[space]
    params = {parameter: best["candidate"]}
    return Found(best["candidate"], allocator, params, best["value"], record["uniform"], record)
