"""Which weights go, written as the papers state it: sort, drop the lowest, ties by position."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]


def magnitude_scores(weight: Scores) -> Scores:
    """|W|."""
    return np.abs(weight)


def wanda_scores(weight: Scores, inputs: Scores) -> Scores:
    """|W_ij| * ||x_j||_2 for inputs [tokens, in]."""
    scores = np.empty_like(weight)
    for j in range(weight.shape[1]):
        scores[:, j] = np.abs(weight[:, j]) * math.sqrt(math.fsum(x * x for x in inputs[:, j]))
    return scores


def drop_lowest(scores: Scores, count: int) -> NDArray[np.bool_]:
    """True at the `count` lowest of a vector, equal ones by lower index."""
    mask = np.zeros(len(scores), dtype=bool)
    for index in sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]:
        mask[index] = True
    return mask


def zeros_lowest(scores: Scores, weight: Scores) -> Scores:
    """The scores, with one below all others wherever the weight is zero already."""
    return np.where(weight == 0, scores.min() - 1, scores)


def units(weight: NDArray[Any], unit: str, columns: int = 0) -> list[NDArray[Any]]:
    """The parts of a matrix in which zeros are counted: its "rows", "matrix", or "strips" or "groups" of columns."""
    match unit:
        case "rows":
            return list(weight)
        case "matrix":
            return [weight]
        case "strips":
            return [weight[:, start : start + columns] for start in range(0, weight.shape[1], columns)]
        case "groups":
            return [row[start : start + columns] for row in weight for start in range(0, len(row), columns)]
    raise ValueError(unit)


def nearest(total: int, sparsity: str) -> int:
    """Whole number nearest to total * sparsity, halves up, from the decimal text."""
    hundredths = round(float(sparsity) * 100)
    return (total * hundredths + 50) // 100


def row_mask(scores: Scores, sparsity: str) -> Mask:
    """The lowest of each row."""
    return np.stack([drop_lowest(row, nearest(len(row), sparsity)) for row in scores])


def matrix_mask(scores: Scores, sparsity: str) -> Mask:
    """The lowest of the whole matrix."""
    return drop_lowest(scores.ravel(), nearest(scores.size, sparsity)).reshape(scores.shape)


def group_mask(scores: Scores, keep: int, group: int) -> Mask:
    """The lowest group - keep of every `group` consecutive inputs of a row."""
    mask = np.zeros(scores.shape, dtype=bool)
    for i in range(scores.shape[0]):
        for start in range(0, scores.shape[1], group):
            mask[i, start : start + group] = drop_lowest(scores[i, start : start + group], group - keep)
    return mask
