"""The language of allocation functions: text, one form per function, what is invalid whatever the data, and variation.

A function gives every block of a model an importance from the Wanda scores of its linears: PRE changes scores, REDUCE
makes a number of a block's scores (or a few), TRANSFORM and POST change numbers (Li et al. 2024, Discovering Sparsity
Allocation for Layer-wise Pruning of Large Language Models, section 4). What the operations compute is in `operations`.
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
"""The reductions that look at one linear at a time, as a matrix."""
VECTOR = ("FROBENIUS_NORM", "L1_NORM", "GEOMETRIC_MEAN", "MEAN", "VAR", "STD", "ENTROPY")
"""The reductions of all scores of a block, in whatever order."""
REDUCE = ("NO_OP", *MATRIX, *VECTOR)
POST = (
    "NO_OP", "SIN", "COS", "TAN", "ASIN", "ACOS", "ATAN", "EXP", "LOG", "ABS", "SIGMOID", "TANH", "SOFTPLUS"
)  # fmt: skip
SPREADS = (7, 8, 9, 10)
"""What LAMBDA may be, in percent."""
DEFAULT_SPREAD = 8
"""LAMBDA where a function has none: the lambda of the published code."""
CONSTANT = 1e-9
"""Importances that differ by less than this, relative to the largest, are taken for equal: rounding moves them."""

_FORM = "W:(PRE,PRE)-(REDUCE)-(TRANSFORM,POST)-(LAMBDA)"
_EVEN = {"POW", "LOG", "ABSLOG", "COS", "DIAGONAL", "FROBENIUS_NORM", "L1_NORM", "GEOMETRIC_MEAN", "ENTROPY"}
"""What does not see the sign of a score. Not ABS: of two, the second may be dropped, and then the first must stay."""
_RESCALING = {"NORMALIZE", "MMS"}
"""What moves all scores of a block by a positive factor and a shift."""


@dataclass(frozen=True)
class Function:
    """An allocation function; ValueError unless it is made of the operations of the language."""

    pre: tuple[str, ...]
    """0 to 2 operations on scores, in their order."""
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
    """The function that `text` writes, as in W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7); ValueError says what is wrong with it.

    The last part may be missing, spaces do not count, and `str` gives the text back.
    """
    parts = re.fullmatch(r"W:\(([^()]*)\)-\(([^()]*)\)-\(([^()]*)\)(?:-\((\d+)\))?", re.sub(r"\s", "", text))
    if not parts:
        raise ValueError(f"{text!r} is not of the form {_FORM}, of which -(LAMBDA) may be missing")
    pre, reduce, post, spread = parts.groups()
    try:
        return Function(_names(pre), reduce, _names(post), int(spread) if spread else None)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def canonical(function: Function) -> Function:
    """A function equal to `function`, and the same one for all that simple rules prove equal to it.

    Dropped are NO_OP, ABS of what is never negative or before what does not see signs (POW), and a rescaling that the
    next one undoes. LOG and ABS are ABSLOG. After REDUCE's NO_OP values are changed one by one and then averaged: its
    TRANSFORM is one more PRE, and without one it is MEAN. A missing LAMBDA is `DEFAULT_SPREAD`.
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
    """Why `function` cannot tell the blocks of any model apart, or None if that depends on the model.

    Proven from the operations alone: moments that NORMALIZE has fixed (up to the number of scores in a block, which is
    that of all blocks), and values that TRANSFORM or POST send to one and the same, by interval arithmetic.
    """
    function = canonical(function)
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
    """Each operation and LAMBDA drawn evenly, NO_OP included, so that shorter functions are drawn too."""
    return Function(_draw_pre(rng), rng.choice(REDUCE), (rng.choice(POST), rng.choice(POST)), rng.choice(SPREADS))


def mutate(function: Function, rng: random.Random) -> Function:
    """`function` with one stage, drawn evenly, drawn again until the function is another."""
    stages = _stages(function)
    stage = rng.choice(list(stages))
    before = canonical(function)
    while True:
        mutant = _function({**stages, stage: _draw_stage(stage, rng)})
        if canonical(mutant) != before:
            return mutant


def crossover(a: Function, b: Function, rng: random.Random) -> Function:
    """Each stage from `a` or `b`, evenly."""
    other = _stages(b)
    return _function({stage: rng.choice((drawn, other[stage])) for stage, drawn in _stages(a).items()})


def _stages(function: Function) -> dict[str, Any]:
    """What varies as one: the four stages of the paper, and LAMBDA."""
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
    """`ops` on `values`, without those that change nothing of what `following` makes of them."""
    kept: list[str] = []
    for op, then in zip(ops, (*ops, following)[1:], strict=True):
        before, values = values, intervals.elementwise(op, values)
        changes_signs_only = op == "ABS" and (before[0] >= 0 or then in _EVEN)
        if changes_signs_only or (op in _RESCALING and then in {*_RESCALING, "CORREF"}):
            continue
        if op == "ABS" and kept[-1:] == ["LOG"] and following:
            kept[-1] = "ABSLOG"
        elif op == "ABSLOG" and (then in _EVEN or intervals.elementwise("LOG", before)[0] >= 0):
            kept.append("LOG")
        else:
            kept.append(op)
    return tuple(kept)
