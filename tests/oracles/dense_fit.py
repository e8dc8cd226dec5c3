"""DenseFit's problems in float64 numpy, each solved as one stacked system of least squares."""

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def penalty(X: Array, damping: float) -> float:
    """r = damping * mean(diag(X X^T)) for inputs X [in, n]."""
    return damping * float(np.mean(np.sum(X**2, axis=1)))


def fitted(W: Array, X: Array, Y: Array, r: float) -> Array:
    """The V [out, in] with the least |V X - Y|^2 + r |V - W|^2: both terms are rows of one system."""
    rows = np.vstack([X.T, np.sqrt(r) * np.eye(len(X))])
    targets = np.vstack([Y.T, np.sqrt(r) * W.T])
    return np.linalg.lstsq(rows, targets, rcond=None)[0].T


def objective(P: Array, W: Array, X: Array, Y: Array, r: float) -> float:
    """|P X - Y|^2 + r |P - W|^2."""
    return float(np.sum((P @ X - Y) ** 2) + r * np.sum((P - W) ** 2))


def on_support(W: Array, X: Array, Y: Array, r: float, kept: NDArray[np.bool_]) -> Array:
    """The P with the least objective that is 0 where `kept` [out, in] is not, row by row."""
    P = np.zeros_like(W)
    for row, columns in enumerate(kept):
        P[row, columns] = fitted_row(W[row], X, Y[row], r, columns)
    return P


def fitted_row(w: Array, X: Array, y: Array, r: float, columns: NDArray[np.bool_]) -> Array:
    """One row of `on_support`. Weights that are 0 add r w^2 whatever the others are, so they are left out."""
    rows = np.vstack([X[columns].T, np.sqrt(r) * np.eye(int(columns.sum()))])
    return np.linalg.lstsq(rows, np.concatenate([y, np.sqrt(r) * w[columns]]), rcond=None)[0]


def best_of_all_masks(W: Array, X: Array, Y: Array, r: float, zeros: int, rows: Array | None = None) -> float:
    """The least objective of all P with `zeros` zeros anywhere in the matrix, where each row of the problem is
    multiplied by its number in `rows`."""
    rows = np.ones(len(W)) if rows is None else rows
    places = list(itertools.product(range(W.shape[0]), range(W.shape[1])))
    values = []
    for gone in itertools.combinations(places, zeros):
        kept = np.ones(W.shape, dtype=bool)
        kept[tuple(zip(*gone, strict=True))] = False
        P = on_support(W, X, Y, r, kept)
        scaled = (matrix * rows[:, None] for matrix in (P, W))
        values.append(objective(*scaled, X, Y * rows[:, None], r))
    return min(values)
