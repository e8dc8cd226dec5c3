"""The operations of the allocation-function language on the scores of one block: pure functions, float64.

A block is the list of the score matrices [out, in] of its linears. The operations are *guarded*: in the published code
(`released`), most functions fail, or their value is a replacement for an overflow or a NaN.

- LOG is ln|x| and ABSLOG |ln|x||, both with ln 0 := 0. Quantised models have weights of exactly 0; with a tiny number
  in their place every logarithmic function would count them: ln 1e-308 is -708, and 0.03% of zeros in SmolLM2-135M
  raise the variance of ln S from 1.4 to 160. The magnitude lets LOG follow LOG, as in the paper's best function, and
  LOG of different negative importances differs.
- GEOMETRIC_MEAN is exp(mean ln|x|) with the same ln: the product of millions of scores is 0 or infinite.
- Arguments of ASIN and ACOS are cut to [-1, 1].
- Matrix reductions work on one linear at a time, on the Gram matrix of its smaller side, and are averaged over linears,
  so that all linears of a block have the same weight.
- DETERMINANT is the n-th root, exp(ln det / n): the geometric mean of the n eigenvalues. The determinant itself is
  beyond float64, and powers of it that differ between the linears of a block could not be averaged.
- NaN and infinite values raise Invalid, and so do SIN, COS and TAN of arguments that are too large to be exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prunebench.formulas.finite import is_finite
from prunebench.lazy import torch

if TYPE_CHECKING:
    Block = list[torch.Tensor]

PERIODIC_LIMIT = 1e8
"""The largest argument of SIN, COS and TAN: sums over 10^8 scores differ in the 13th digit between runs."""


class Invalid(Exception):
    """A function gives no usable importances on a model. The message says why."""


def pre_process(ops: Iterable[str], block: Block) -> Block:
    """Apply the operations of PRE, one after the other, to the scores of a block."""
    for op in ops:
        if op == "NORMALIZE":
            center, scale = mean(block), variance(block) ** 0.5
        elif op == "MMS":
            center = min(float(x.min()) for x in block)
            scale = max(float(x.max()) for x in block) - center
        else:
            block = [elementwise(op, x) for x in block]
            continue
        # Equal scores have no scale: NaN makes the function invalid.
        block = [(x - center) / (scale or math.nan) for x in block]
    return block


def reduce(op: str, block: Block) -> Block:
    """Apply REDUCE: one scalar tensor; for NO_OP the scores, for GRAM, CORREF and DIAGONAL one tensor per linear.

    Raises Invalid if a value is NaN or infinite.
    """
    match op:
        case "NO_OP":
            values = block
        case "GRAM":
            values = [gram(x) for x in block]
        case "CORREF":
            values = [correlations(x) for x in block]
        case "DIAGONAL":
            values = [_smaller_side(x).square().sum(1) for x in block]
        case "DETERMINANT" | "RANK" | "SLOGDET":
            function = {"DETERMINANT": determinant_root, "RANK": rank, "SLOGDET": log_determinant}[op]
            values = [_scalar(sum(map(function, block)) / len(block))]
        case _:
            values = [_scalar(_of_all(op, block))]
    return _finite(values, op)


def post_process(ops: Iterable[str], values: Block, *, pooled: bool) -> float:
    """The importance of a block: TRANSFORM and POST of each entry of REDUCE's results `values`, then the mean.

    The mean is over all entries if `pooled` (after NO_OP), else over the means of the linears.
    Raises Invalid if a value is NaN or infinite.
    """
    for op in ops:
        if op in ("SIN", "COS", "TAN") and any(float(x.abs().max()) > PERIODIC_LIMIT for x in values):
            raise Invalid(f"{op} of a value above {PERIODIC_LIMIT:g} is rounding")
        values = _finite([elementwise(op, x) for x in values], op)
    return mean(values) if pooled else sum(float(x.mean()) for x in values) / len(values)


def elementwise(op: str, x: torch.Tensor) -> torch.Tensor:
    """Apply an operation of PRE, TRANSFORM or POST that changes values one by one."""
    match op:
        case "NO_OP":
            return x
        case "LOG":
            return log(x)
        case "ABSLOG":
            return log(x).abs_()
        case "POW":
            return x.square()
        case "ASIN" | "ACOS":
            x = x.clamp(-1, 1)
            return x.asin() if op == "ASIN" else x.acos()
        case "SOFTPLUS":
            return torch.logaddexp(x, torch.zeros((), dtype=x.dtype))
    function = {
        "ABS": torch.abs,
        "EXP": torch.exp,
        "SIGMOID": torch.sigmoid,
        "TANH": torch.tanh,
        "SIN": torch.sin,
        "COS": torch.cos,
        "TAN": torch.tan,
        "ATAN": torch.atan,
    }[op]
    return function(x)


def log(x: torch.Tensor) -> torch.Tensor:
    """ln|x|, with ln 0 := 0."""
    return x.abs().masked_fill_(x == 0, 1).log_()


def mean(block: Block) -> float:
    """The mean of all scores of a block."""
    return sum(float(x.sum()) for x in block) / count(block)


def variance(block: Block) -> float:
    """The variance of all scores of a block (divided by their number minus one)."""
    center = mean(block)
    return sum(float((x - center).square_().sum()) for x in block) / (count(block) - 1)


def count(block: Block) -> int:
    """The number of scores of a block."""
    return sum(x.numel() for x in block)


def entropy(block: Block) -> float:
    """-sum p ln p over all scores of a block, where p = |x| / sum |x| and 0 ln 0 := 0."""
    total = sum(float(x.abs().sum()) for x in block)
    if not 0 < total < math.inf:
        return math.nan
    # ln p = ln|x| - ln sum needs no second copy of the scores.
    return math.log(total) - sum(float((x.abs() * log(x)).sum()) for x in block) / total


def gram(x: torch.Tensor) -> torch.Tensor:
    """A A^T [n, n], where A [n, m], n <= m, is the matrix `x` or its transpose."""
    side = _smaller_side(x)
    if side.device.type == "cpu":
        # numpy computes only one triangle of A A^T, in half the time. `reduce` reports overflows.
        import numpy as np

        array = side.numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy(array @ array.T)
    return side @ side.T


def correlations(x: torch.Tensor) -> torch.Tensor:
    """Pearson's r [n, n] between the rows, or between the columns if they are fewer; NaN for equal scores."""
    side = _smaller_side(x)
    r = gram(side - side.mean(1, keepdim=True))
    lengths = r.diagonal().sqrt()
    r = r.div_(lengths[:, None]).div_(lengths).clamp_(-1, 1)
    # The diagonal is 1 but for rounding, and ln(acos(r)) is -18 next to r = 1 and 0 at it.
    diagonal = r.diagonal()
    diagonal.masked_fill_(diagonal.isfinite(), 1)
    return r


def log_determinant(x: torch.Tensor) -> float:
    """ln det of the Gram matrix of `x`; -infinity if the matrix is singular."""
    sign, value = torch.linalg.slogdet(gram(x))
    # A Gram matrix has no negative determinant: the small eigenvalues are lost by rounding.
    return float(value) if sign > 0 else -math.inf if sign <= 0 else math.nan


def determinant_root(x: torch.Tensor) -> float:
    """The n-th root of the determinant of the Gram matrix [n, n] of `x`; NaN if the matrix is singular."""
    value = log_determinant(x)
    return math.exp(value / min(x.shape)) if value > -math.inf else math.nan


def rank(x: torch.Tensor) -> float:
    """The number of eigenvalues of the Gram matrix of `x` above n eps times the largest one, with float64's eps.

    They are the squares of singular values; those below sqrt(n eps) times the largest do not count.
    """
    matrix = gram(x)
    if not is_finite(matrix):
        return math.nan
    threshold = len(matrix) * torch.finfo(matrix.dtype).eps
    # The trace is at least the largest eigenvalue. If the shifted matrix has a Cholesky factor, all eigenvalues are
    # above the threshold; that takes a hundredth of the time of the eigenvalues.
    shifted = matrix - 2 * threshold * matrix.trace() * torch.eye(len(matrix), dtype=matrix.dtype)
    if torch.linalg.cholesky_ex(shifted).info == 0:
        return float(len(matrix))
    eigenvalues = torch.linalg.eigvalsh(matrix)
    return float((eigenvalues > threshold * eigenvalues[-1]).sum())


def _of_all(op: str, block: Block) -> float:
    """A reduction of all scores of a block."""
    match op:
        case "MEAN":
            return mean(block)
        case "VAR":
            return variance(block)
        case "STD":
            return math.sqrt(variance(block))
        case "L1_NORM":
            return sum(float(x.abs().sum()) for x in block)
        case "FROBENIUS_NORM":
            return math.sqrt(sum(float(x.square().sum()) for x in block))
        case "GEOMETRIC_MEAN":
            # exp cannot overflow: the logarithms of float64 are below 710.
            return math.exp(sum(float(log(x).sum()) for x in block) / count(block))
        case "ENTROPY":
            return entropy(block)
    raise KeyError(op)


def _smaller_side(x: torch.Tensor) -> torch.Tensor:
    return x if x.shape[0] <= x.shape[1] else x.T


def _scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _finite(values: Block, op: str) -> Block:
    for x in values:
        # A finite sum means finite numbers, in one pass; a sum that is not finite may have overflowed.
        if not x.sum().isfinite() and not x.isfinite().all():
            raise Invalid(f"{op} gives {'NaN' if x.isnan().any() else 'an infinite value'}")
    return values
