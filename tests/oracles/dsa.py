"""DSA's allocation functions written operation by operation, as they stand, on all scores of a block at once.

A block is a list of score matrices [out, in]. `guarded` may return NaN or infinity, which make a function invalid.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]


def ln(x: Array) -> Array:
    """ln|x|, and 0 at 0."""
    return np.log(np.where(x == 0, 1.0, np.abs(x)))


def elementwise(op: str, x: Array) -> Array:
    """Any operation on single values."""
    return np.asarray(
        {
            "NO_OP": lambda: x,
            "ABS": lambda: np.abs(x),
            "LOG": lambda: ln(x),
            "ABSLOG": lambda: np.abs(ln(x)),
            "POW": lambda: x * x,
            "EXP": lambda: np.exp(x),
            "SIGMOID": lambda: expit(x),
            "TANH": lambda: np.tanh(x),
            "SIN": lambda: np.sin(x),
            "COS": lambda: np.cos(x),
            "TAN": lambda: np.tan(x),
            "ASIN": lambda: np.arcsin(np.minimum(np.maximum(x, -1), 1)),
            "ACOS": lambda: np.arccos(np.minimum(np.maximum(x, -1), 1)),
            "ATAN": lambda: np.arctan(x),
            "SOFTPLUS": lambda: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        }[op]()
    )


def pre_process(ops: Sequence[str], block: list[Array]) -> list[Array]:
    """PRE."""
    for op in ops:
        everything = np.concatenate([x.ravel() for x in block])
        if op == "NORMALIZE":
            block = [(x - everything.mean()) / everything.std(ddof=1) for x in block]
        elif op == "MMS":
            block = [(x - everything.min()) / (everything.max() - everything.min()) for x in block]
        else:
            block = [elementwise(op, x) for x in block]
    return block


def smaller_gram(x: Array) -> Array:
    """x x^T or x^T x, whichever is smaller."""
    return x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x


def correlations(x: Array) -> Array:
    """Pearson's r of the rows, or of the columns if they are fewer."""
    x = x if x.shape[0] <= x.shape[1] else x.T
    d = x - x.mean(axis=1, keepdims=True)
    lengths = np.sqrt((d * d).sum(axis=1))
    r = np.asarray(d @ d.T / np.outer(lengths, lengths))
    return np.where(np.eye(len(r), dtype=bool) & (lengths[:, None] > 0), 1.0, r)


def log_determinant(x: Array) -> float:
    """The log-determinant of the smaller Gram matrix, from the singular values; NaN if it overflows."""
    if not np.isfinite(smaller_gram(x)).all():
        return math.nan
    return float(2 * np.log(np.linalg.svd(x, compute_uv=False)).sum())


def rank(x: Array) -> float:
    """Singular values whose square exceeds n eps times the largest square; NaN if the Gram matrix overflows."""
    if not np.isfinite(smaller_gram(x)).all():
        return math.nan
    squares = np.linalg.svd(x, compute_uv=False) ** 2
    return float((squares > len(squares) * 2.0**-52 * squares.max()).sum())


def reduce(op: str, block: list[Array]) -> list[Array]:
    """REDUCE: what TRANSFORM works on, one array for each group that is averaged first."""
    per_linear = {
        "GRAM": smaller_gram,
        "CORREF": correlations,
        "DIAGONAL": lambda x: np.diag(smaller_gram(x)),
    }
    if op in per_linear:
        return [per_linear[op](x) for x in block]
    scores = np.concatenate([x.ravel() for x in block])
    n = len(scores)
    magnitudes = np.abs(scores)

    def entropy() -> float:
        p = magnitudes / magnitudes.sum()
        return float(-sum(share * np.log(share) for share in p if share != 0))

    return [
        np.asarray(
            {
                "NO_OP": lambda: scores,
                "DETERMINANT": lambda: np.mean([np.exp(log_determinant(x) / min(x.shape)) for x in block]),
                "SLOGDET": lambda: np.mean([log_determinant(x) for x in block]),
                "RANK": lambda: np.mean([rank(x) for x in block]),
                "FROBENIUS_NORM": lambda: np.sqrt((scores**2).sum()),
                "L1_NORM": lambda: magnitudes.sum(),
                "GEOMETRIC_MEAN": lambda: np.exp(ln(scores).mean()),
                "MEAN": lambda: scores.sum() / n,
                "VAR": lambda: ((scores - scores.mean()) ** 2).sum() / (n - 1),
                "STD": lambda: np.sqrt(((scores - scores.mean()) ** 2).sum() / (n - 1)),
                "ENTROPY": entropy,
            }[op]()
        )
    ]


def guarded(pre: Sequence[str], reduction: str, post: Sequence[str], block: list[Array]) -> float:
    """The importance of a block."""
    with np.errstate(all="ignore"):
        values = reduce(reduction, pre_process(pre, block))
        for op in post:
            values = [elementwise(op, x) for x in values]
        return float(np.mean([x.mean() for x in values]))


def released(pre: Sequence[str], reduction: str, post: Sequence[str], block: list[Array]) -> float:
    """The importance of a block as the published code computes it."""
    with np.errstate(all="ignore"):
        x = np.concatenate([scores.ravel() for scores in block])
        for op in pre:
            if op == "LOG":
                x = np.log(np.where(x <= 0, 1.0, x) + 1e-6)
            elif op == "ABSLOG":
                x = ln(x)
            elif op == "NORMALIZE":
                x = np.where(np.isnan(z := (x - x.mean()) / x.std(ddof=1)), 0.0, z)
            elif op == "MMS":
                x = (x - x.min()) / (x.max() - x.min() + 1e-9)
            else:
                x = elementwise(op, x)
        shares = x[x >= 0] / x[x >= 0].sum()
        value: Array = np.asarray(
            {
                "NO_OP": lambda: x,
                "FROBENIUS_NORM": lambda: np.sqrt((x * x).sum()),
                "L1_NORM": lambda: np.abs(x).mean(),
                "GEOMETRIC_MEAN": lambda: np.prod(x) ** (1 / len(x)),
                "MEAN": lambda: x.mean(),
                "VAR": lambda: x.var(ddof=1),
                "STD": lambda: x.std(ddof=1),
                "ENTROPY": lambda: -(shares * np.log(np.where(shares == 0, 1.0, shares))).sum(),
            }[reduction]()
        )
        for op in post:
            unguarded = {"LOG": np.log, "ASIN": np.arcsin, "ACOS": np.arccos}
            value = np.asarray(unguarded[op](value) if op in unguarded else elementwise(op, value))
        importance = float(value.mean())
    return 0.0 if np.isnan(importance) else -1.0 if np.isinf(importance) else importance


def sparsities(importances: Sequence[float], spread: float, sparsity: float) -> Array:
    """The sparsities of blocks of one size: 1 - (r - mean(r) + 1 - s), r = 2 lambda minmax(1 - minmax(V))."""
    V = np.array(importances)
    u = 1 - (V - V.min()) / (V.max() - V.min())
    r = 2 * spread * (u - u.min()) / (u.max() - u.min())
    return np.asarray(1 - (r - r.mean() + 1 - sparsity))
