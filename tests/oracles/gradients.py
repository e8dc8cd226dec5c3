"""How steeply a loss depends on a weight, without going backwards: by trying two other values of it."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def slope(loss: Callable[[], float], weight: NDArray[np.float64], at: tuple[int, int], step: float) -> float:
    """d loss / d weight[at] by central differences; `loss` sees changes of `weight`, which is left as it was."""
    before = float(weight[at])
    weight[at] = before + step
    above = loss()
    weight[at] = before - step
    below = loss()
    weight[at] = before
    return (above - below) / (2 * step)


def root_of_squares(slopes: Sequence[float]) -> float:
    """sqrt(sum of squares)."""
    return math.sqrt(math.fsum(slope * slope for slope in slopes))


def next_token_loss(logits: NDArray[np.float64], tokens: Sequence[int]) -> float:
    """Mean over positions of -log softmax(logits)[next token], for logits [seqlen, vocabulary]."""
    losses = []
    for row, token in zip(logits[:-1], tokens[1:], strict=True):
        shifted = row - row.max()
        losses.append(math.log(math.fsum(np.exp(shifted))) - shifted[token])
    return math.fsum(losses) / len(losses)
