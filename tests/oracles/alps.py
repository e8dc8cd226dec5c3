"""ALPS written from algorithms 1 and 2 and appendix B.1 of Meng et al. 2024, in float64; no matrix is used twice."""

import numpy as np
from numpy.typing import NDArray

from oracles.admm import Mask, lowest
from prunebench.patterns import Pattern

Array = NDArray[np.float64]


def prune(
    W: Array,
    G: Array,
    sparsity: float,
    pattern: Pattern,
    *,
    damping: float = 0.01,
    rho: float = 0.1,
    steps: int = 300,
    settled: float = 0.0,
    refinement: int = 10,
    zeros: Mask | None = None,
) -> tuple[Array, Mask, int]:
    """(pruned W, mask of what went, steps of the search) for W [out, in] and G = X X^T [in, in]."""
    zeros = W == 0 if zeros is None else zeros
    H = G + damping * np.mean(np.diag(G)) * np.eye(len(G))
    norms = np.sqrt(np.diag(H))
    A = H / np.outer(norms, norms)
    w = W * norms
    before = lowest(w, zeros, sparsity, pattern)
    kept = np.sum(~before)
    D, V = np.where(before, 0, w), np.zeros_like(w)
    for step in range(1, steps + 1):
        B = np.linalg.solve(A + rho * np.eye(len(A)), (w @ A - V + rho * D).T).T
        gone = lowest(B + V / rho, zeros, sparsity, pattern)
        D = np.where(gone, 0, B + V / rho)
        V = V + rho * (B - D)
        if step % 3 == 0:
            changes = np.sum(gone != before)
            if changes == 0 or (step >= 30 and changes <= settled * kept):
                break
            rho *= 1.3 if changes > 0.1 * kept else 1.2 if changes > 0.005 * kept else 1.1
            before = gone
    gone = lowest(B, zeros, sparsity, pattern)
    rows = [refined(A, w[i] @ A, np.where(gone[i], 0, B[i]), ~gone[i], refinement) for i in range(len(w))]
    return np.array(rows) / norms, gone, step


def refined(A: Array, target: Array, start: Array, kept: Mask, steps: int) -> Array:
    """One row by `steps` steps of textbook conjugate gradients on the submatrix of what is kept."""
    part, x = A[np.ix_(kept, kept)], start[kept]
    r = target[kept] - part @ x
    p = r
    for _ in range(steps):
        if np.linalg.norm(r) <= 1e-14 * np.linalg.norm(target):
            break
        alpha = (r @ r) / (p @ part @ p)
        x, old = x + alpha * p, r
        r = r - alpha * part @ p
        p = r + (r @ r) / (old @ old) * p
    row = np.zeros(len(kept))
    row[kept] = x
    return row
