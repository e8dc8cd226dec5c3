"""Optimal Brain Surgeon for whole layers: weights go column by column, and later columns make up for the error.

This is the maths of SparseGPT (Frantar & Alistarh 2023), in the dtype of the arguments. Weights are held transposed,
[in, out], so that a column of W is contiguous; `U` is upper triangular with U^T U = (X X^T + lambda I)^-1.
"""

from __future__ import annotations

from collections.abc import Callable

from prunebench.errors import CellFailure
from prunebench.lazy import torch

SMALL = 256
"""The largest width that LAPACK factorises at once."""
LEAF = 16
"""The number of columns that are eliminated without a matrix product; everything wider is one."""
SYSTEMS = 2**22
"""The most numbers, in float64, of the triangular systems that are solved at a time: 32 MiB."""


def inverse_factor(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """U [in, in] of H = `hessian` [in, in] with lambda = `damping` * mean(diag H), float64 or float32.

    Only the lower triangle of `hessian` is read. If H is 0, so that no weight causes an error, U is the identity, and
    the smallest weights are pruned.
    Raises CellFailure if H is not finite, or not positive definite when damped.
    """
    if not hessian.diagonal().isfinite().all():
        raise CellFailure("activations on the calibration tokens are NaN or infinite: use bfloat16 or float32")
    if not hessian.diagonal().any():
        return torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    # From the last column backwards, H = R R^T with R upper triangular; then U = R^-1, without ever forming H^-1.
    damped = mirror(hessian.flip(0, 1).T).T
    damped.diagonal().add_(damping * hessian.diagonal().mean())
    _invert_factor(damped)
    if not damped.diagonal().isfinite().all():
        raise CellFailure(
            f"the Hessian of {len(hessian)} inputs is not positive definite with damping {damping}: "
            "some inputs are dead or depend on each other; raise 'damping' or calibrate on more tokens"
        )
    return turn(damped)


def _invert_factor(A: torch.Tensor) -> None:
    """Put L^-1 of A = L L^T in the place of A, or NaN if A is not positive definite.

    It works by halves, so that most of it is matrix products: LAPACK's triangular routines take about twice as long.
    """
    if len(A) <= SMALL:
        factor, failed = torch.linalg.cholesky_ex(A)
        identity = torch.eye(len(A), dtype=A.dtype, device=A.device)
        solved = torch.linalg.solve_triangular(factor, identity, upper=False)
        # The answer stays on the device: a condition would wait for it.
        A.copy_(solved.masked_fill_(failed > 0, torch.nan))
        return
    half = len(A) // 2
    upper, below, lower = A[:half, :half], A[half:, :half], A[half:, half:]
    _invert_factor(upper)
    factor = below @ upper.T
    lower.addmm_(factor, factor.T, alpha=-1)
    _invert_factor(lower)
    torch.matmul(lower, factor.neg_(), out=below)
    below.copy_(torch.matmul(below, upper, out=factor))
    A[:half, half:].zero_()


def turn(matrix: torch.Tensor) -> torch.Tensor:
    """Reverse the order of the rows and of the columns of `matrix` [n, n] in place; returns it."""
    n = len(matrix)
    for low in range(0, n // 2, SMALL):
        high = min(low + SMALL, n // 2)
        first, last = matrix[low:high], matrix[n - high : n - low]
        kept = first.flip(0, 1)
        first.copy_(last.flip(0, 1))
        last.copy_(kept)
    if n % 2:
        matrix[n // 2] = matrix[n // 2].flip(0)
    return matrix


def mirror(matrix: torch.Tensor) -> torch.Tensor:
    """Copy the lower triangle of `matrix` [n, n] to the upper one in place, without a second matrix; returns it."""
    for low in range(0, len(matrix), SMALL):
        high = low + SMALL
        corner = matrix[low:high, low:high]
        corner.copy_(corner.tril() + corner.tril(-1).T)
        matrix[low:high, high:] = matrix[high:, low:high].T
    return matrix


def losses(weight: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
    """The growth of the squared error if a weight goes, after all columns before it: w^2 / U_jj^2, [width, out].

    `weight` [width, out] are columns of W, U [width, width] the same diagonal block of the factor.
    """
    return (weight / U.diagonal()[:, None]).square()


def eliminate(
    weight: torch.Tensor,
    U: torch.Tensor,
    block: int,
    select: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    gone_before: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prune W^T = `weight` [in, out] (overwritten) in blocks of `block` columns of W, left to right.

    `select(weight, loss)`, both [width, out], returns the mask of a block (boolean, True = goes) once all columns
    before it have been compensated for. The weights in `gone_before`, boolean [in, out], go whatever `select` returns;
    it sees -infinity as their loss, so that it takes them first. Returns the pruned W^T, and the scaled errors
    E [in, out] whose squares add up to the growth of the damped error: sum E^2 = tr(D^T (H + lambda I) D) for the
    change D of W^T.
    """
    errors = torch.zeros_like(weight)
    gone = torch.zeros_like(weight, dtype=torch.bool)

    def apply(low: int, middle: int, high: int) -> None:
        weight[middle:high].addmm_(U[low:middle, middle:high].T, errors[low:middle], alpha=-1)

    def choose(low: int, high: int) -> None:
        part = U[low:high, low:high]
        loss = losses(weight[low:high], part)
        if gone_before is None:
            gone[low:high] = select(weight[low:high], loss)
        else:
            before = gone_before[low:high]
            gone[low:high] = before | select(weight[low:high], loss.masked_fill_(before, -torch.inf))
        # Until a column's turn its errors hold 1 / U_jj where a weight goes, else 0.
        errors[low:high] = gone[low:high] / part.diagonal()[:, None]
        _in_halves(low, high, LEAF, leaf, apply)

    def leaf(low: int, high: int) -> None:
        columns = one_by_one if weight.device.type == "cpu" else all_at_once
        columns(weight[low:high], errors[low:high], U[low:high, low:high])

    _in_halves(0, len(weight), block, choose, apply)
    return weight.masked_fill_(gone, 0), errors


def one_by_one(weight: torch.Tensor, errors: torch.Tensor, U: torch.Tensor) -> None:
    """Eliminate columns `weight` [width, out] of W in place; `U` [width, width] is their diagonal block of the factor.

    `errors` [width, out] hold 1 / U_jj where a weight goes, else 0, and become the scaled errors.
    """
    for j in range(len(weight)):
        if j:
            weight[j].addmv_(errors[:j].T, U[:j, j], alpha=-1)
        errors[j] *= weight[j]


def all_at_once(weight: torch.Tensor, errors: torch.Tensor, U: torch.Tensor) -> None:
    """Do `one_by_one`, equal but for rounding, in a few operations however many columns there are.

    To launch an operation costs an accelerator more than the work on one column. As the mask is fixed, the errors e of
    each output, with its entries d of `errors` and w of `weight`, solve the triangular system (I + diag(d) V) e = d w,
    where V is the lower triangle of U^T without its diagonal. Each output has a matrix of its own, so the outputs are
    solved in parts of bounded memory. A processor would only move more memory.
    """
    strict = U.triu(1).T
    outputs = max(1, SYSTEMS // U.numel())
    for w, e in zip(weight.split(outputs, dim=1), errors.split(outputs, dim=1), strict=True):
        systems = e.T[:, :, None] * strict  # the solver takes the diagonal to be 1
        right = (e * w).T[:, :, None]
        solved = torch.linalg.solve_triangular(systems, right, upper=False, unitriangular=True)
        e.copy_(solved[:, :, 0].T)
        w.addmm_(strict, e, alpha=-1)


def _in_halves(
    low: int, high: int, unit: int, visit: Callable[[int, int], None], apply: Callable[[int, int, int], None]
) -> None:
    """Visit [low, high) in units, left to right; `apply(low, middle, high)` applies a finished half to the other.

    This is no part of `eliminate`: a nested function that calls itself keeps its tensors until the garbage collector
    runs.
    """
    if high - low <= unit:
        return visit(low, high)
    middle = low + -(-(high - low) // (2 * unit)) * unit
    _in_halves(low, middle, unit, visit, apply)
    apply(low, middle, high)
    _in_halves(middle, high, unit, visit, apply)
