"""How published codes of pruning cut text into windows and score them: with plain loops, on the tokens of one text."""

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from oracles.gradients import next_token_loss


def test_windows(tokens: Sequence[int], seqlen: int, at_most: int | None) -> list[list[int]]:
    """The whole windows of a text from its start, without overlap; what is left at the end is dropped."""
    windows = []
    position = 0
    while position + seqlen <= len(tokens) and len(windows) != at_most:
        windows.append(list(tokens[position : position + seqlen]))
        position += seqlen
    return windows


def perplexity(logits: Callable[[Sequence[int]], NDArray[np.float64]], windows: Sequence[Sequence[int]]) -> float:
    """exp(sum(mean loss of a window x its length) / all tokens), as the published codes sum."""
    total = 0.0
    for window in windows:
        total += next_token_loss(logits(window), window) * len(window)
    return math.exp(total / sum(map(len, windows)))


def calibration_windows(documents: Sequence[Sequence[int]], samples: int, seqlen: int, seed: int) -> list[list[int]]:
    """A window from a random place of a random document (tokens) that is longer than a window, again and again."""
    random.seed(seed)
    windows = []
    for _ in range(samples):
        while True:
            document = documents[random.randint(0, len(documents) - 1)]
            if len(document) > seqlen:
                break
        start = random.randint(0, len(document) - seqlen - 1)
        windows.append(list(document[start : start + seqlen]))
    return windows


test_windows.__test__ = False  # type: ignore[attr-defined]
