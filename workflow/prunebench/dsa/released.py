"""The language of allocation functions as DSA's published code computes it: pure functions on the scores of one block.

The block is one flat vector, so operations on matrices fail. Without the guards of `operations` values overflow,
logarithms have negative arguments, or asin leaves its domain; in the end NaN becomes 0 and infinity -1. The function of
its README, asin(atan(var(ln S))), is 0, the least importance, if the variance is above tan 1 = 1.557.

The published code computes in float32, this in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from prunebench.dsa.language import MATRIX, Function
from prunebench.dsa.operations import Invalid
from prunebench.lazy import torch


def reject(function: Function) -> str | None:
    """Why the published code cannot compute `function`, or None if it can."""
    return f"{function.reduce} wants a matrix; the published code has a vector" if function.reduce in MATRIX else None


def pre_process(ops: Iterable[str], scores: torch.Tensor) -> torch.Tensor:
    """Apply the operations of PRE to the scores of a block [n]."""
    for op in ops:
        scores = _pre(op, scores)
    return scores


def reduce(op: str, x: torch.Tensor) -> torch.Tensor:
    """Apply REDUCE: a scalar, or for NO_OP the vector itself. Raises Invalid for operations on matrices."""
    match op:
        case "NO_OP":
            return x
        case "FROBENIUS_NORM":
            return x.square().sum().sqrt()
        case "L1_NORM":
            return x.abs().mean()
        case "GEOMETRIC_MEAN":
            return x.prod().pow(1 / len(x))
        case "MEAN":
            return x.mean()
        case "VAR":
            return x.var()
        case "STD":
            return x.std()
        case "ENTROPY":
            return _entropy(x)
    raise Invalid(f"{op} wants a matrix; the published code has a vector")


def post_process(ops: Iterable[str], value: torch.Tensor) -> float:
    """Apply TRANSFORM and POST and take the mean; NaN becomes 0 and infinity -1."""
    for op in ops:
        value = _post(op, value)
    importance = float(value.mean())
    if math.isnan(importance):
        return 0.0
    return -1.0 if math.isinf(importance) else importance


def _pre(op: str, x: torch.Tensor) -> torch.Tensor:
    match op:
        case "LOG":
            return (x.masked_fill(x <= 0, 1) + 1e-6).log()
        case "ABSLOG":
            return x.masked_fill(x == 0, 1).abs().log()
        case "POW":
            return x.square()
        case "NORMALIZE":
            z = (x - x.mean()) / x.std()
            return z.masked_fill(z.isnan(), 0)
        case "MMS":
            return (x - x.min()) / (x.max() - x.min() + 1e-9)
    return _post(op, x)


def _post(op: str, x: torch.Tensor) -> torch.Tensor:
    match op:
        case "NO_OP":
            return x
        case "SOFTPLUS":
            return torch.nn.functional.softplus(x)
    function = {
        "ABS": torch.abs,
        "EXP": torch.exp,
        "LOG": torch.log,
        "SIGMOID": torch.sigmoid,
        "TANH": torch.tanh,
        "SIN": torch.sin,
        "COS": torch.cos,
        "TAN": torch.tan,
        "ASIN": torch.asin,
        "ACOS": torch.acos,
        "ATAN": torch.atan,
    }[op]
    return function(x)


def _entropy(x: torch.Tensor) -> torch.Tensor:
    """-sum p ln p over the scores that are not negative, where p = x / sum x and 0 ln 0 := 0."""
    x = x[x >= 0]
    p = x / x.sum()
    return -torch.xlogy(p, p).sum() if len(x) else torch.tensor(math.nan, dtype=torch.float64)
