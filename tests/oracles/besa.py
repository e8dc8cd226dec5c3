"""BESA's masks, written as the paper defines them: candidate by candidate, in fractions and float64."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def goes(rank: int, width: int, sparsity: Fraction) -> bool:
    """Whether the weight of `rank` (0 the least important) is among those that `sparsity` of a row prunes."""
    return Fraction(2 * rank + 1, 2 * width) < sparsity


def candidates(count: int) -> list[Fraction]:
    """1, ..., 1 / count, 0."""
    return [Fraction(k, count) for k in range(count, -1, -1)]


def beta(theta: Array, begin: Array, smooth: bool) -> Array:
    """The weights of the candidates of one row: a softmax over begin + sigmoid(theta), or over begin + theta."""
    logits = [b + (1 / (1 + math.exp(-t)) if smooth else t) for b, t in zip(begin, theta, strict=True)]
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return np.array([power / math.fsum(powers) for power in powers])


def soft_mask(weights: Sequence[float], width: int) -> Array:
    """The probability that the weight of each rank goes, for a sparsity drawn from the candidates by `weights`."""
    drawn = list(zip(candidates(len(weights) - 1), weights, strict=True))
    return np.array([math.fsum(w for p, w in drawn if goes(rank, width, p)) for rank in range(width)])


def hard_zeros(alpha: float, width: int) -> int:
    """How many weights of a row go at sparsity `alpha`."""
    return sum(goes(rank, width, Fraction(alpha)) for rank in range(width))


def ranks(scores: Array) -> NDArray[np.int64]:
    """The rank of each score in its row, equal ones by index."""
    found = np.empty(scores.shape, dtype=np.int64)
    for i, row in enumerate(scores):
        for rank, j in enumerate(sorted(range(len(row)), key=lambda j: (row[j], j))):
            found[i, j] = rank
    return found


def error(outputs: Array, target: Array) -> float:
    """Mean over channels of the squared distance relative to the target's, for [tokens, channels]."""
    terms = []
    for c in range(target.shape[1]):
        whole = math.fsum(y * y for y in target[:, c])
        missed = math.fsum((y - z) ** 2 for y, z in zip(target[:, c], outputs[:, c], strict=True))
        terms.append(missed / whole if whole else 0.0)
    return math.fsum(terms) / len(terms)
