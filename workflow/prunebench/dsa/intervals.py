"""Interval arithmetic for the language of allocation functions: the possible values of operations, as plain floats.

An interval (low, high) contains every value that the guarded operations of `operations` can give. It may be too wide,
but never too narrow. It ignores NaN, which makes a function invalid wherever it occurs.
"""

import math
from collections.abc import Callable

Interval = tuple[float, float]

ANYTHING: Interval = (-math.inf, math.inf)
SCORES: Interval = (0.0, math.inf)
"""The interval of Wanda's scores, |W_ij| ||x_j||_2."""


def elementwise(op: str, x: Interval) -> Interval:
    """The interval of an operation of PRE, TRANSFORM or POST on values in `x`."""
    return _ELEMENTWISE[op](x)


def reduced(op: str, x: Interval) -> Interval:
    """The interval of the results of REDUCE (scalar or entries) for any number of scores in `x`."""
    low, high = x
    least = _abs(x)[0]
    match op:
        case "NO_OP" | "MEAN":
            return x
        case "GEOMETRIC_MEAN":
            return _exp(_log(x))
        case "VAR":
            return 0.0, _largest_variance(x)
        case "STD":
            return 0.0, math.sqrt(_largest_variance(x))
        case "L1_NORM" | "FROBENIUS_NORM":
            return least, math.inf
        case "DIAGONAL":
            return least * least, math.inf
        case "GRAM":
            return (least * least, math.inf) if low >= 0 or high <= 0 else ANYTHING
        case "CORREF":
            return -1.0, 1.0
        case "RANK":
            return float(least > 0), math.inf
        case "DETERMINANT" | "ENTROPY":
            return 0.0, math.inf
        case "SLOGDET":
            return ANYTHING
    raise KeyError(op)


def _abs(x: Interval) -> Interval:
    low, high = x
    if low >= 0:
        return x
    return (-high, -low) if high <= 0 else (0.0, max(-low, high))


def _pow(x: Interval) -> Interval:
    low, high = _abs(x)
    return low * low, high * high


def _log(x: Interval) -> Interval:
    """The interval of ln|x|, with ln 0 := 0."""
    low, high = _abs(x)
    top = math.log(high) if high > 0 else 0.0
    return (math.log(low), top) if low > 0 else (-math.inf if high > 0 else 0.0, max(top, 0.0))


def _exp(x: Interval) -> Interval:
    return _increasing(_exponential)(x)


def _exponential(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:  # where torch.exp is infinite
        return math.inf


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -709 else 0.0


def _softplus(x: float) -> float:
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def _increasing(function: Callable[[float], float]) -> Callable[[Interval], Interval]:
    return lambda x: (function(x[0]), function(x[1]))


def _clamped(x: float) -> float:
    return min(1.0, max(-1.0, x))


def _acos(x: Interval) -> Interval:
    return math.acos(_clamped(x[1])), math.acos(_clamped(x[0]))


def _sin(x: Interval) -> Interval:
    return (math.sin(x[0]), math.sin(x[1])) if -math.pi / 2 <= x[0] and x[1] <= math.pi / 2 else (-1.0, 1.0)


def _cos(x: Interval) -> Interval:
    low, high = _abs(x)
    return (math.cos(high), math.cos(low)) if high <= math.pi else (-1.0, 1.0)


def _tan(x: Interval) -> Interval:
    # The float next to pi/2 is below it, and its tangent is finite.
    return (math.tan(x[0]), math.tan(x[1])) if -math.pi / 2 <= x[0] and x[1] <= math.pi / 2 else ANYTHING


def _largest_variance(x: Interval) -> float:
    """The largest variance: (high - low)^2 / 4, with half of the values at each end, times n / (n - 1) <= 2."""
    return (x[1] - x[0]) * (x[1] - x[0]) / 2


_ELEMENTWISE: dict[str, Callable[[Interval], Interval]] = {
    "NO_OP": lambda x: x,
    "ABS": _abs,
    "LOG": _log,
    "ABSLOG": lambda x: _abs(_log(x)),
    "POW": _pow,
    "EXP": _exp,
    "NORMALIZE": lambda x: ANYTHING,
    "MMS": lambda x: (0.0, 1.0),
    "SIGMOID": _increasing(_logistic),
    "TANH": _increasing(math.tanh),
    "SIN": _sin,
    "COS": _cos,
    "TAN": _tan,
    "ASIN": _increasing(lambda x: math.asin(_clamped(x))),
    "ACOS": _acos,
    "ATAN": _increasing(math.atan),
    "SOFTPLUS": _increasing(_softplus),
}
