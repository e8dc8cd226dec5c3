"""ADMM for pruning, step by step as in algorithm 3 of Boza 2024, with explicit inverses, in float64."""

import numpy as np
from numpy.typing import NDArray

from oracles import masks
from prunebench.patterns import Pattern

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def lowest(values: Array, zeros: Mask, sparsity: float, pattern: Pattern, part: float = 1.0) -> Mask:
    """The places of the smallest |values| [out, in]; zeros go first. For n:m, the smallest of all groups' lowest."""
    scores = np.where(zeros, -1.0, np.abs(values))
    if not pattern.structured:
        count = int(np.floor(scores.size * (part * sparsity) + 0.5 + scores.size * 1e-15))
        return masks.drop_lowest(scores.ravel(), count).reshape(scores.shape) | zeros
    candidates = masks.group_mask(scores, pattern.keep, pattern.group)
    count = int(np.floor(candidates.sum() * part + 0.5))
    return masks.drop_lowest(np.where(candidates, scores, np.inf).ravel(), count).reshape(scores.shape) | zeros


def prune(
    W: Array,
    G: Array,
    sparsity: float,
    pattern: Pattern,
    *,
    damping: float = 0.1,
    rho: float = 1.0,
    steps: int = 20,
    ramp: int = 15,
    cubic: bool = True,
    zeros: Mask | None = None,
) -> tuple[Array, Mask]:
    """(pruned W, mask of what went) for W [out, in] and G = X X^T [in, in], whose diagonal is not 0."""
    zeros = W == 0 if zeros is None else zeros
    norms = np.sqrt(np.diag(G))
    A = G / np.outer(norms, norms) + damping * np.eye(len(G))
    w = W * norms
    target, U = w @ A, np.zeros_like(W)
    for step in range(1, steps + 1):
        if step <= ramp:
            part = 1 - (1 - step / ramp) ** 3 if cubic else 1.0
            gone = lowest(w + U, zeros, sparsity, pattern, part)
        Z = np.where(gone, 0, w + U)
        U = U + w - Z
        w = (target + rho * (Z - U)) @ np.linalg.inv(A + rho * np.eye(len(A)))
    return np.where(gone, 0, w + U) / norms, gone
