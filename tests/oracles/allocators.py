"""How sparse each linear gets, written from the formulas of the papers, with all scores of the model sorted at once.

Models are `{linear: array}`, blocks lists of linears. Sparsities that a formula puts outside [0, 1] are left there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Sizes = dict[str, tuple[int, int]]


def one_threshold(scores: dict[str, Array], sparsity: float) -> dict[str, float]:
    """The share of each linear below one threshold; those at it go in part, as many as are still missing."""
    everything = np.sort(np.concatenate([score.ravel() for score in scores.values()]))
    missing = sparsity * len(everything)
    threshold = everything[max(0, int(np.ceil(missing)) - 1)]
    part = (missing - np.sum(everything < threshold)) / np.sum(everything == threshold)
    return {linear: np.mean(np.where(s == threshold, part, s < threshold)) for linear, s in scores.items()}


def erdos_renyi(sizes: Sizes, sparsity: float) -> dict[str, float]:
    """1 - min(1, eps (out + in) / (out in)); eps by bisection on the number of weights that stay."""
    out, width = np.array([*sizes.values()], dtype=np.float64).T
    low, high = 0.0, np.max(out * width)
    for _ in range(200):
        eps = (low + high) / 2
        kept = np.sum(np.minimum(1, eps * (out + width) / (out * width)) * out * width)
        low, high = (eps, high) if kept < (1 - sparsity) * np.sum(out * width) else (low, eps)
    density = np.minimum(1, high * (out + width) / (out * width))
    return dict(zip(sizes, 1 - density, strict=True))


def dlp(blocks: Sequence[Array], sizes: Sequence[int], sparsity: float, alpha: float, statistic: str) -> Array:
    """Per block, from its scores: density = 2 alpha minmax(I) - mean + (1 - s), I = 1 - V / sum V."""
    V = np.array([{"median": np.median, "mean": np.mean}[statistic](scores) for scores in blocks])
    share = 1 - V / np.sum(V)
    r = 2 * alpha * (share - share.min()) / (share.max() - share.min())
    return np.asarray(1 - (r - np.average(r, weights=sizes) + (1 - sparsity)))


def atp(blocks: int, sparsity: float, slope: float | None = None) -> list[float]:
    """s - slope (L - 1) / 2 + slope (b - 1) for b = 1 ... L; by default half of the largest slope that is allowed."""
    if slope is None:
        slope = 0.5 * min(2 * sparsity, 2 * (1 - sparsity)) / (blocks - 1)
    return [sparsity - slope * (blocks - 1) / 2 + slope * (b - 1) for b in range(1, blocks + 1)]


def eigenvalues(W: Array) -> Array:
    """The eigenvalues of W^T W, ascending, from singular values; without zeros."""
    singular = np.linalg.svd(W, compute_uv=False)
    return np.sort(singular[singular > 1e-9 * singular.max()] ** 2)


def alpha_hill(W: Array) -> float:
    """1 + k / sum_i ln(lambda_(n-i+1) / lambda_(n-k)), i = 1 ... k; lambda_(n-k) the first in the fullest bin."""
    values = eigenvalues(W)
    n = len(values)
    counts, edges = np.histogram(np.log10(values), bins=100)
    peak = int(np.argmax(counts))
    k = n - 1 - next(i for i, value in enumerate(values) if np.log10(value) >= edges[peak] - 1e-9)
    k = max(k, 1)
    return float(1 + k / sum(np.log(values[n - i] / values[n - 1 - k]) for i in range(1, k + 1)))


def alpha_fitted(W: Array) -> float:
    """The start that the released code finds: around the peak, with the least Kolmogorov-Smirnov distance."""
    values = eigenvalues(W)
    counts, edges = np.histogram(np.log10(values), bins=100)
    peak = 10 ** edges[int(np.argmax(counts))]
    found = []
    for i in range(len(values) - 1):
        if np.log10(0.95 * peak) <= values[i] <= 1.5 * peak:
            tail = values[i:]
            n = len(tail)
            alpha = 1 + n / (np.sum(np.log(tail)) - n * np.log(tail[0]))
            expected = 1 - (tail / tail[0]) ** (1 - alpha)
            found.append((np.max(np.abs(expected - np.arange(n) / n)), alpha))
    return float(min(found)[1]) if found else alpha_hill(W)


def alpha_pruning(alphas: Sequence[float], sizes: Sequence[int], sparsity: float, epsilon: float) -> Array:
    """Per block: alphas mapped to [1 - epsilon, 1 + epsilon], scaled to the budget."""
    ratios = np.interp(alphas, [min(alphas), max(alphas)], [1 - epsilon, 1 + epsilon])
    return np.asarray(ratios * sparsity * np.sum(sizes) / np.sum(ratios * np.array(sizes)))
