"""The importances that allocation functions give the blocks of a model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from prunebench.dsa import operations
from prunebench.dsa import released as published
from prunebench.dsa.language import CONSTANT, MATRIX, VECTOR, Function, normal_form, reject
from prunebench.dsa.operations import Invalid
from prunebench.formulas import scores
from prunebench.lazy import torch

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy

_SMALL = frozenset({*VECTOR, *MATRIX} - {"GRAM", "CORREF"})
"""The reductions whose result is one number, or one for each row or column."""

_SCALAR = _SMALL - {"DIAGONAL"}
"""The reductions whose result is one number."""

_Key = tuple[tuple[str, ...], str, bool]
"""PRE, REDUCE, and whether they are computed like the published code (`released`)."""


class Importances:
    """The importances V_b of a model's blocks under any function.

    Scores are Wanda's, |W_ij| ||x_j||_2, of the dense model, with one block of them in memory at a time. Small results
    of REDUCE are cached, so that functions that differ only in TRANSFORM and POST cost nothing.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        self._reduced: dict[_Key, list[operations.Block] | Invalid] = {}

    def values(self, function: Function, released: bool = False) -> list[float]:
        """V_b of every block. Raises Invalid, with the reason, if one is not finite or all of several are equal.

        They are computed from the normal form, so that equal functions give the same bits. With `released` they are
        computed like the published code, from the function as it is written.
        """
        if not released:
            function = normal_form(function)
            if reason := reject(function):
                raise Invalid(reason)
        key = (function.pre, function.reduce, released)
        if function.reduce in _SMALL:
            blocks = self._remembered(key)
            if function.reduce in _SCALAR and not released:
                # Importances that are equal before TRANSFORM or POST may differ after it, by rounding.
                for kept in range(len(function.post)):
                    begun = replace(function, post=(*function.post[:kept], "NO_OP"))
                    _check([_finished(begun, released, block) for block in blocks])
            values = [_finished(function, released, block) for block in blocks]
        else:
            values = [_finished(function, released, self._of_block(linears, key)) for linears in self._anatomy.blocks]
        _check(values)
        return values

    def _remembered(self, key: _Key) -> list[operations.Block]:
        """The results of REDUCE for every block, cached. Raises Invalid each time if the first computation did."""
        if key not in self._reduced:
            try:
                self._reduced[key] = [self._of_block(linears, key) for linears in self._anatomy.blocks]
            except Invalid as reason:
                # A new exception: the traceback of this one keeps the scores in memory.
                self._reduced[key] = Invalid(str(reason))
        blocks = self._reduced[key]
        if isinstance(blocks, Invalid):
            raise Invalid(str(blocks))
        return blocks

    def _of_block(self, linears: tuple[str, ...], key: _Key) -> operations.Block:
        """The result of REDUCE for one block."""
        pre, reduce, released = key
        if released:
            return [published.reduce(reduce, published.pre_process(pre, torch.cat(self._scores(linears, flat=True))))]
        return operations.reduce(reduce, operations.pre_process(pre, self._scores(linears)))

    def _scores(self, linears: tuple[str, ...], *, flat: bool = False) -> operations.Block:
        matrices = [scores.wanda(self._anatomy.weight(x), self._anatomy.squared_norm(x)) for x in linears]
        return [x.flatten() for x in matrices] if flat else matrices


def _finished(function: Function, released: bool, block: operations.Block) -> float:
    """The importance of a block, from the result `block` of REDUCE."""
    if released:
        return published.post_process(function.post, block[0])
    return operations.post_process(function.post, block, pooled=function.reduce == "NO_OP")


def _check(values: list[float]) -> None:
    """Raise Invalid unless `values` are finite and can rank blocks."""
    if not all(map(math.isfinite, values)):
        raise Invalid("the importance of a block is NaN or infinite")
    if len(values) > 1 and max(values) - min(values) <= CONSTANT * max(map(abs, values)):
        raise Invalid(f"all blocks have the same importance, {values[0]:.6g}")
