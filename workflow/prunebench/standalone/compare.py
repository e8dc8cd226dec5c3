"""Compares models on the same windows of text."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prunebench.config.values import Compute
from prunebench.errors import PrunebenchError
from prunebench.results.paired import interval
from prunebench.standalone.measure import Loaded, load, resumable_perplexity
from prunebench.standalone.request import model_entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prunebench.suites.base import Score

log = logging.getLogger("prunebench")


@dataclass(frozen=True)
class Compared:
    """The result of one model. `ratio` is its perplexity divided by the perplexity of the first model.

    `interval` is the 95% interval of `ratio`. Both are None for the first model.
    """

    model: str
    sparsity: float
    perplexity: float
    ratio: float | None = None
    interval: tuple[float, float] | None = None


def compare_models(
    models: Sequence[str], windows: Callable[[Loaded], NDArray[np.int64]], name: str, compute: Compute
) -> list[Compared]:
    """Measure the sparsity and perplexity of each model on the text `name`; `windows` cuts it into a model's tokens.

    Raises PrunebenchError if a model is not known, if a model cuts the text into other windows than the first model
    does (then a comparison of windows has no meaning), or if there is only one window.
    """
    for model in models:
        model_entry(model)
    rows: list[Compared] = []
    unfinished = []
    first: tuple[NDArray[np.int64], list[float]] | None = None
    scores: dict[str, tuple[str, Score]] = {}
    for model in models:
        loaded = load(model, compute)
        tokens = windows(loaded)
        if first and not np.array_equal(tokens, first[0]):
            raise PrunebenchError(
                f"{model} has another tokenizer than {models[0]}, or puts another token in front: "
                "their perplexities do not compare"
            )
        if len(tokens) < 2:
            raise PrunebenchError("one window says nothing about the spread: give more text, or lower --seqlen")
        digest = loaded.manifest.digest
        if digest in scores:
            log.info("%s has the weights of %s, which is measured already", model, scores[digest][0])
        else:
            score, parts = resumable_perplexity(loaded, tokens, name)
            scores[digest] = model, score
            unfinished.append(parts)
        score = scores[digest][1]
        losses = score.details["window_losses"]
        row = Compared(model, loaded.sparsity, score.value)
        if first:
            row = Compared(model, row.sparsity, row.perplexity, *ratio(losses, first[1]))
        else:
            first = tokens, losses
        rows.append(row)
    # The parts are removed only now: if a later model is killed, the earlier models are not evaluated again.
    for parts in unfinished:
        parts.remove()
    return rows


def ratio(losses: Sequence[float], reference: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return a ratio of perplexities, `losses` to `reference`, and its 95% interval (in pairs of windows).

    Both arguments have one loss (nats per token) per window, for the same windows. There are at least two windows.
    Raises PrunebenchError if a float cannot hold the ratio.
    """
    low, high = interval(losses, reference)
    try:
        return math.exp(np.subtract(losses, reference).mean()), (math.exp(low), math.exp(high))
    except OverflowError:
        raise PrunebenchError(
            f"the losses of two models differ by up to {high:.0f} nats per token, and no number holds the ratio of "
            "such perplexities: one of the models is destroyed"
        ) from None
