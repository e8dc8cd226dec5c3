"""Models side by side on the same windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.results.paired import interval
from prunebench.standalone.measure import Loaded, load, resumable_perplexity
from prunebench.standalone.request import Compute, model_entry

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Compared:
    """One model; `ratio` and its 95% interval are those of its perplexity to the first model's (of which: None)."""

    model: str
    sparsity: float
    perplexity: float
    ratio: float | None = None
    interval: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare_models(
    models: Sequence[str], windows: Callable[[Loaded], NDArray[np.int64]], name: str, compute: Compute
) -> list[Compared]:
    """Sparsity and perplexity of each of `models`, where `windows` gives a model its text as tokens.

    Raises PrunebenchError if a model is not known, or cuts the text into other windows than the first (pairs would have
    no meaning), and for a single window.
    """
    for model in models:
        model_entry(model)
    rows: list[Compared] = []
    pieces = []
    first: tuple[NDArray[np.int64], list[float]] | None = None
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
        score, of = resumable_perplexity(loaded, tokens, name)
        pieces.append(of)
        losses = score.details["window_losses"]
        row = Compared(model, loaded.sparsity, score.value)
        if first:
            row = Compared(model, row.sparsity, row.perplexity, *ratio(losses, first[1]))
        else:
            first = tokens, losses
        rows.append(row)
    # Not sooner: after a kill in a later model, the earlier ones are not evaluated again.
    for of in pieces:
        of.remove()
    return rows


def ratio(losses: Sequence[float], to: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The ratio of two perplexities, from the losses of the same (at least two) windows, and its 95% interval.

    The interval is a paired bootstrap over windows.
    """
    low, high = interval(losses, to)
    return math.exp(np.subtract(losses, to).mean()), (math.exp(low), math.exp(high))
