"""The function `prunebench.compare`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from prunebench.errors import PrunebenchError
from prunebench.standalone.api.calling import Device, Progress, called, settings
from prunebench.standalone.api.inputs import Given, Model, check_model, own, placed
from prunebench.standalone.api.perplexity import LEAST
from prunebench.standalone.arguments import check_arguments, is_path
from prunebench.standalone.compare import Compared, compare_models
from prunebench.standalone.text import SEQLEN, Source


def compare(
    models: Sequence[Model],
    text: Given = "wikipedia",
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
) -> list[Compared]:
    """Compare `models`, two or more, on `text`: sparsity, perplexity, and its ratio to the first model's.

    The 95% interval of a ratio compares the models window by window; if it contains 1, the text does not tell two
    models apart. The other arguments are those of `perplexity`. `tokenizer` serves all models in memory. Raises
    PrunebenchError if the tokenizers of two models cut the text differently, or if there is only one window.
    """
    counts = {"seqlen": seqlen, "windows": windows, "batch_size": batch_size, "threads": threads}
    check_arguments({**LEAST, "windows": 2}, {**counts, "column": column, "bos": bos, "dtype": dtype})
    if isinstance(models, str) or not isinstance(models, Sequence) or len(models) < 2:
        raise PrunebenchError("'models': give a list of two or more models")
    in_memory = any(not is_path(model) for model in models)
    for number, model in enumerate(models):
        check_model(model, tokenizer if not (is_path(model) and in_memory) else None, f"models[{number}]")
    with called(device, progress), own("text", text, column) as source, ExitStack() as stack:
        measured = Source(
            source.tokens,
            source.corpus,
            source.text,
            column if is_path(text) else None,
            None if source.tokens else seqlen,
            windows,
            bos,
            name=source.corpus or "the text",
        )
        places = [stack.enter_context(placed(m, None if is_path(m) else tokenizer)) for m in models]
        for place in places:
            if not source.tokens:
                place.require_tokenizer()
        for place in places:
            place.save()
        names = [place.name for place in places]
        rows = compare_models(names, measured.windows, measured.name, settings(dtype, batch_size, threads))
    titles = [place.title for place in places]
    # A pruned model in memory has the name of the model that it was made from.
    numbers = [titles[:at].count(title) + 1 for at, title in enumerate(titles)]
    shown = [f"{title} ({number})" if number > 1 else title for title, number in zip(titles, numbers, strict=True)]
    return [replace(row, model=title) for row, title in zip(rows, shown, strict=True)]
