"""The language of allocation functions: their text, a normal form, checks without data, and random variation.

A function computes an importance of each block from the Wanda scores of its linears: PRE changes scores, REDUCE makes
one or a few numbers from a block's scores, TRANSFORM and POST change these numbers (Li et al. 2024, Discovering
Sparsity Allocation for Layer-wise Pruning of Large Language Models, section 4). `operations` computes them.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prunebench.dsa import intervals
from prunebench.registry import did_you_mean

PRE = ("NO_OP", "ABS", "LOG", "ABSLOG", "POW", "EXP", "NORMALIZE", "SIGMOID", "TANH", "MMS")
MATRIX = ("GRAM", "CORREF", "DIAGONAL", "DETERMINANT", "RANK", "SLOGDET")
"""The reductions of one linear at a time, as a matrix."""
VECTOR = ("FROBENIUS_NORM", "L1_NORM", "GEOMETRIC_MEAN", "MEAN", "VAR", "STD", "ENTROPY")
"""The reductions of all scores of a block, in any order."""
REDUCE = ("NO_OP", *MATRIX, *VECTOR)
POST = (
    "NO_OP", "SIN", "COS", "TAN", "ASIN", "ACOS", "ATAN", "EXP", "LOG", "ABS", "SIGMOID", "TANH", "SOFTPLUS"
)  # fmt: skip
SPREADS = (7, 8, 9, 10)
"""The possible values of LAMBDA, in percent."""
DEFAULT_SPREAD = 8
"""The LAMBDA of a function that has none: the lambda of the published code."""
CONSTANT = 1e-9
"""The relative difference below which importances count as equal, as rounding moves them."""

_FORM = "W:(PRE,PRE)-(REDUCE)-(TRANSFORM,POST)-(LAMBDA)"
_EVEN = {"POW", "LOG", "ABSLOG", "COS", "DIAGONAL", "FROBENIUS_NORM", "L1_NORM", "GEOMETRIC_MEAN", "ENTROPY"}
"""Operations that ignore the sign of a score. ABS is left out: one of two may be dropped, but not both."""
_RESCALING = {"NORMALIZE", "MMS"}
"""Operations that scale all scores of a block by a positive factor and shift them."""


@dataclass(frozen=True)
class Function:
    """An allocation function. Raises ValueError unless it consists of operations of the language."""

    pre: tuple[str, ...]
    """0 to 2 operations on scores, in order."""
    reduce: str
    post: tuple[str, ...]
    """TRANSFORM, and POST if there is one."""
    spread: int | None = None
    """LAMBDA: half the difference between the sparsest and the densest block, in percent."""

    def __post_init__(self) -> None:
        if len(self.pre) > 2:
            raise ValueError(f"PRE has at most two operations, not {len(self.pre)}")
        if not 1 <= len(self.post) <= 2:
            raise ValueError(f"TRANSFORM,POST has one or two operations (NO_OP for none), not {len(self.post)}")
        for stage, written, known in (
            ("PRE", self.pre, PRE),
            ("REDUCE", (self.reduce,), REDUCE),
            ("TRANSFORM,POST", self.post, POST),
        ):
            for op in written:
                if op not in known:
                    raise ValueError(f"unknown operation {op!r} in {stage}{did_you_mean(op, known)}")
        if self.spread is not None and self.spread not in SPREADS:
            raise ValueError(f"LAMBDA is {SPREADS[0]} to {SPREADS[-1]}, in percent, not {self.spread}")

    def __str__(self) -> str:
        spread = "" if self.spread is None else f"-({self.spread})"
        return f"W:({','.join(self.pre)})-({self.reduce})-({','.join(self.post)}){spread}"


def parse(text: str) -> Function:
    """Parse the text of a function, such as W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7); `str` writes it again.

    The last part may be missing, and spaces are ignored. Raises ValueError, which says what is wrong.
    """
    parts = re.fullmatch(r"W:\(([^()]*)\)-\(([^()]*)\)-\(([^()]*)\)(?:-\((\d+)\))?", re.sub(r"\s", "", text))
    if not parts:
        raise ValueError(f"{text!r} is not of the form {_FORM}, of which -(LAMBDA) may be missing")
    pre, reduce, post, spread = parts.groups()
    try:
        return Function(_names(pre), reduce, _names(post), int(spread) if spread else None)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def normal_form(function: Function) -> Function:
    """The normal form of `function`; functions that simple rules prove equal have the same form.

    The rules drop NO_OP, ABS of values that are never negative or before an operation that ignores signs (POW), and a
    rescaling that the next one undoes. LOG followed by ABS becomes ABSLOG. After a REDUCE of NO_OP values are changed
    one by one and then averaged: TRANSFORM becomes one more PRE, and without TRANSFORM the reduction is MEAN. A missing
    LAMBDA becomes `DEFAULT_SPREAD`.
    """
    pre, reduce, post = _without_no_op(function.pre), function.reduce, _without_no_op(function.post)
    while True:
        before = pre, reduce, post
        pre, post = _simplified(pre, reduce, post)
        if reduce == "NO_OP":
            if not post:
                reduce = "MEAN"
            elif post[0] in PRE and len(pre) < 2:
                pre, post = (*pre, post[0]), post[1:]
        if before == (pre, reduce, post):
            break
    spread = DEFAULT_SPREAD if function.spread is None else function.spread
    return Function(pre, reduce, post or ("NO_OP",), spread)


def reject(function: Function) -> str | None:
    """Why `function` gives the blocks of every model equal importances; None if that depends on the model.

    The proofs need the operations alone: NORMALIZE fixes some moments (up to the number of scores, which is the same
    for all blocks), and interval arithmetic shows that TRANSFORM or POST map all values to the same one.
    """
    function = normal_form(function)
    if function.pre[-1:] == ("NORMALIZE",) and function.reduce in ("MEAN", "VAR", "STD", "FROBENIUS_NORM"):
        return f"the {function.reduce} of scores after NORMALIZE is the same for all blocks"
    if function.pre[-2:] == ("NORMALIZE", "POW") and function.reduce in ("MEAN", "L1_NORM"):
        return f"the {function.reduce} of the squares of scores after NORMALIZE is the same for all blocks"
    values = intervals.reduced(function.reduce, _interval(function.pre, intervals.SCORES))
    for op in function.post:
        values = intervals.elementwise(op, values)
        largest = max(map(abs, values))
        if largest < math.inf and values[1] - values[0] <= CONSTANT * largest:
            return f"{op} of what comes before it is {values[1]:.6g} for all blocks"
    return None


def random_function(rng: random.Random) -> Function:
    """Draw each operation and LAMBDA uniformly. NO_OP is among them, so that shorter functions are drawn too."""
    return Function(_draw_pre(rng), rng.choice(REDUCE), (rng.choice(POST), rng.choice(POST)), rng.choice(SPREADS))


def mutate(function: Function, rng: random.Random) -> Function:
    """`function` with one random stage drawn again, until the function differs."""
    stages = _stages(function)
    stage = rng.choice(list(stages))
    before = normal_form(function)
    while True:
        mutant = _function({**stages, stage: _draw_stage(stage, rng)})
        if normal_form(mutant) != before:
            return mutant


def crossover(a: Function, b: Function, rng: random.Random) -> Function:
    """A function with each stage from `a` or `b`, with equal chances."""
    partner = _stages(b)
    return _function({stage: rng.choice((value, partner[stage])) for stage, value in _stages(a).items()})


def _stages(function: Function) -> dict[str, Any]:
    """The parts that variation changes one at a time: the four stages of the paper, and LAMBDA."""
    return {
        "pre": function.pre,
        "reduce": function.reduce,
        "transform": function.post[:1],
        "post": function.post[1:],
        "spread": function.spread,
    }


def _function(stages: dict[str, Any]) -> Function:
    return Function(stages["pre"], stages["reduce"], stages["transform"] + stages["post"], stages["spread"])


def _draw_stage(stage: str, rng: random.Random) -> tuple[str, ...] | str | int:
    match stage:
        case "pre":
            return _draw_pre(rng)
        case "reduce":
            return rng.choice(REDUCE)
        case "spread":
            return rng.choice(SPREADS)
    return (rng.choice(POST),)


def _draw_pre(rng: random.Random) -> tuple[str, ...]:
    return rng.choice(PRE), rng.choice(PRE)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _without_no_op(ops: Iterable[str]) -> tuple[str, ...]:
    return tuple(op for op in ops if op != "NO_OP")


def _interval(ops: Iterable[str], values: intervals.Interval) -> intervals.Interval:
    for op in ops:
        values = intervals.elementwise(op, values)
    return values


def _simplified(pre: tuple[str, ...], reduce: str, post: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """PRE and TRANSFORM,POST after one rule for each operation, from left to right."""
    # After a REDUCE of NO_OP, TRANSFORM sees the scores themselves.
    following = post[0] if reduce == "NO_OP" and post else reduce
    after = intervals.reduced(reduce, _interval(pre, intervals.SCORES))
    return _shortened(pre, intervals.SCORES, following), _shortened(post, after, "")


def _shortened(ops: tuple[str, ...], values: intervals.Interval, following: str) -> tuple[str, ...]:
    """`ops` on `values`, without those that do not change the result of the operation `following` after them."""
    kept: list[str] = []
    for op, successor in zip(ops, (*ops, following)[1:], strict=True):
        before, values = values, intervals.elementwise(op, values)
        changes_signs_only = op == "ABS" and (before[0] >= 0 or successor in _EVEN)
        if changes_signs_only or (op in _RESCALING and successor in {*_RESCALING, "CORREF"}):
            continue
        if op == "ABS" and kept[-1:] == ["LOG"] and following:
            kept[-1] = "ABSLOG"
        elif op == "ABSLOG" and (successor in _EVEN or intervals.elementwise("LOG", before)[0] >= 0):
            kept.append("LOG")
        else:
            kept.append(op)
    return tuple(kept)
