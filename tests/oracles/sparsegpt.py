"""SparseGPT written from the OBS formulas, one column at a time, with the explicit inverse Hessian, in float64."""

import numpy as np
from numpy.typing import NDArray

from oracles.masks import nearest
from prunebench.patterns import Pattern

Array = NDArray[np.float64]


def prune(
    W: Array,
    H: Array,
    sparsity: float,
    pattern: Pattern,
    *,
    damping: float = 0.01,
    columns: int = 128,
    threshold: bool = False,
    keep_zeros: bool = True,
) -> tuple[Array, NDArray[np.bool_]]:
    """(pruned W, mask of what went); W [out, in], H = X X^T [in, in].

    Weights that are 0 are the cheapest and stay 0, with `keep_zeros`; else they are weights like all others.

    `threshold`, as the released code has it: in a strip go all weights up to the cost of rank sparsity x weights.

    Removing weight q of a row changes the columns after it by -w_q / [H^-1]_qq [H^-1]_q, and costs w_q^2 / [H^-1]_qq;
    then q is taken out of H^-1 by one step of Gaussian elimination, whether it was removed or not.
    """
    zero = (W == 0) & keep_zeros
    W = W.copy()
    inverse = np.linalg.inv(H + damping * np.mean(np.diag(H)) * np.eye(len(H)))
    gone = np.zeros(W.shape, dtype=bool)
    block = pattern.group if pattern.structured else columns
    for start in range(0, W.shape[1], block):
        strip = slice(start, min(start + block, W.shape[1]))
        cost = np.where(zero[:, strip], -1, W[:, strip] ** 2 / _diagonal_at_turn(inverse, strip))
        gone[:, strip] = _select(cost, sparsity, pattern, threshold) | zero[:, strip]
        for q in range(strip.start, strip.stop):
            removed = np.where(gone[:, q], W[:, q], 0)
            W -= np.outer(removed / inverse[q, q], inverse[q])
            W[gone[:, q], q] = 0
            inverse = inverse - np.outer(inverse[:, q], inverse[q]) / inverse[q, q]
            inverse[q, :] = inverse[:, q] = 0
            inverse[q, q] = 1  # out of play: no later step reads it
    return W, gone


def rose_order(W: Array, H: Array, sparsity: float, columns: int) -> list[int]:
    """The order of columns in ROSE: within strips and of whole strips by falling loss, if strips differ by a half."""
    score = np.abs(W) * np.sqrt(np.diag(H))
    strips = [list(range(start, min(start + columns, W.shape[1]))) for start in range(0, W.shape[1], columns)]
    loss = np.zeros(W.shape[1])
    for strip in strips:
        cells = sorted((score[row, column], row, column) for row in range(len(W)) for column in strip)
        for value, _, column in cells[: nearest(len(cells), f"{sparsity:.2f}")]:
            loss[column] += value
    sums = [loss[strip].sum() for strip in strips]
    if (max(sums) - min(sums)) <= 0.5 * max(sums):
        return list(range(W.shape[1]))
    strips = [sorted(strip, key=lambda column: -loss[column]) for strip in strips]
    short = [strips.pop()] if len(strips[-1]) < columns else []
    strips.sort(key=lambda strip: -loss[strip].sum())
    return [column for strip in strips + short for column in strip]


def _diagonal_at_turn(inverse: Array, strip: slice) -> Array:
    """[H^-1]_qq of each column of the strip once the columns before it are taken out."""
    inverse, found = inverse.copy(), []
    for q in range(strip.start, strip.stop):
        found.append(inverse[q, q])
        inverse -= np.outer(inverse[:, q], inverse[q]) / inverse[q, q]
    return np.array(found)


def _select(cost: Array, sparsity: float, pattern: Pattern, threshold: bool) -> NDArray[np.bool_]:
    """The cheapest of the strip [out, width], or of each row of an n:m group; equal ones by row, then column."""
    gone = np.zeros(cost.shape, dtype=bool)
    if pattern.structured:
        order = np.argsort(cost, axis=1, kind="stable")[:, : pattern.group - pattern.keep]
        np.put_along_axis(gone, order, True, axis=1)
    elif threshold:
        gone = cost <= np.sort(cost, axis=None)[int(cost.size * sparsity)]
    else:
        order = np.argsort(cost, axis=None, kind="stable")[: int(np.floor(cost.size * sparsity + 0.5))]
        gone.flat[order] = True
    return gone
