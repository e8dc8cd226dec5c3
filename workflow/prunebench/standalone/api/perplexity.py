"""The function `prunebench.perplexity`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from prunebench.errors import PrunebenchError
from prunebench.standalone.api.calling import Device, Progress, called, settings
from prunebench.standalone.api.inputs import Given, Model, check_model, own, placed
from prunebench.standalone.api.prune import one_of
from prunebench.standalone.arguments import check_arguments, is_path
from prunebench.standalone.measure import load, perplexity_of
from prunebench.standalone.text import SEQLEN, Source
from prunebench.suites.base import Score

LEAST = {"seqlen": 2, "windows": 1, "batch_size": 1, "threads": 1}
"""The lower bounds of whole numbers."""


def perplexity(
    model: Model,
    text: Given | None = None,
    *,
    tokenizer: Any = None,
    column: str | None = None,
    seqlen: int = SEQLEN,
    windows: int | None = None,
    bos: bool | None = None,
    dtype: str | torch.dtype = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
    device: Device = None,
    progress: Progress = None,
    tokens: Given | None = None,
) -> Score:
    """Measure the perplexity of `model` on `text`.

    `text` is text or token ids. Text is a list of strings, a dataset, the name of a file or directory, or the name of a
    corpus of the catalog, whose test split is used; see `prune`. It is cut into windows of `seqlen` tokens without
    overlap. With `bos` each window begins with a BOS token; by default it does if the model's tokenizer puts one in
    front of any text. Token ids, int64 [windows, seqlen], are an array or the name of an .npy file. In both cases the
    first `windows` windows count (default all). `tokens` is an older name of `text`.

    The first token of a window is only context. In the score, `value` is exp of the mean loss, `stderr` is its standard
    error over windows, `details["window_losses"]` has the loss of each window (nats per token), and `details["bos"]`
    says whether windows begin with a BOS token (None for token ids).

    Raises PrunebenchError if a loss is not finite, or the text cannot be read.
    """
    counts = {"seqlen": seqlen, "windows": windows, "batch_size": batch_size, "threads": threads}
    check_arguments(LEAST, {**counts, "column": column, "bos": bos, "dtype": dtype})
    check_model(model, tokenizer)
    name, given = one_of("text", text, tokens)
    if given is None:
        raise PrunebenchError("'text': give a text or token ids to measure the perplexity on")
    with called(device, progress), own(name, given, column) as source, placed(model, tokenizer) as place:
        measured = Source(
            source.tokens,
            source.corpus,
            source.text,
            column if is_path(given) else None,
            None if source.tokens else seqlen,
            windows,
            bos,
            name=source.corpus or ("tokens" if source.tokens else "text"),
        )
        if not source.tokens:
            place.require_tokenizer()
        place.save()
        loaded = load(place.name, settings(dtype, batch_size, threads))
        score = perplexity_of(loaded, measured.windows(loaded), measured.name)
    return score if source.tokens else replace(score, details={**score.details, "bos": measured.bos})
