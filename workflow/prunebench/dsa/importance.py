"""What allocation functions say of the blocks of a model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from prunebench.dsa import operations
from prunebench.dsa import released as published
from prunebench.dsa.language import CONSTANT, MATRIX, VECTOR, Function, canonical, reject
from prunebench.dsa.operations import Invalid
from prunebench.formulas import scores
from prunebench.lazy import torch

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy

_SMALL = frozenset({*VECTOR, *MATRIX} - {"GRAM", "CORREF"})
"""The reductions whose result is a number, or one for each row or column."""

_SCALAR = _SMALL - {"DIAGONAL"}
"""Those that give a number."""

_Key = tuple[tuple[str, ...], str, bool]
"""PRE, REDUCE, and whether as released."""


class Importances:
    """The importances V_b of a model's blocks under any function.

    Scores are Wanda's, |W_ij| ||x_j||_2, of the dense model; one block of them is in memory at a time. What REDUCE
    gives is remembered if it is small, so that functions that differ in TRANSFORM and POST only cost nothing.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        self._reduced: dict[_Key, list[operations.Block] | Invalid] = {}

    def values(self, function: Function, released: bool = False) -> list[float]:
        """V_b of every block, finite and not all equal; Invalid with the reason if it cannot be.

        Computed from the canonical form, so that equal functions give the same bits; `released`: as the published code
        computes, from the function as it stands. One block has nothing to be equal to.
        """
        if not released:
            function = canonical(function)
            if reason := reject(function):
                raise Invalid(reason)
        key = (function.pre, function.reduce, released)
        if function.reduce in _SMALL:
            blocks = self._remembered(key)
            if function.reduce in _SCALAR and not released:
                # What is the same for all blocks before TRANSFORM or POST may differ after it, by rounding.
                for kept in range(len(function.post)):
                    begun = replace(function, post=(*function.post[:kept], "NO_OP"))
                    _check([_finished(begun, released, block) for block in blocks])
            values = [_finished(function, released, block) for block in blocks]
        else:
            values = [_finished(function, released, self._of_block(linears, key)) for linears in self._anatomy.blocks]
        _check(values)
        return values

    def _remembered(self, key: _Key) -> list[operations.Block]:
        """What REDUCE gives for every block, computed once; Invalid as at the first time."""
        if key not in self._reduced:
            try:
                self._reduced[key] = [self._of_block(linears, key) for linears in self._anatomy.blocks]
            except Invalid as reason:
                # Another one: the traceback of this one holds on to the scores.
                self._reduced[key] = Invalid(str(reason))
        known = self._reduced[key]
        if isinstance(known, Invalid):
            raise Invalid(str(known))
        return known

    def _of_block(self, linears: tuple[str, ...], key: _Key) -> operations.Block:
        """What REDUCE gives for one block."""
        pre, reduce, released = key
        if released:
            return [published.reduce(reduce, published.pre_process(pre, torch.cat(self._scores(linears, flat=True))))]
        return operations.reduce(reduce, operations.pre_process(pre, self._scores(linears)))

    def _scores(self, linears: tuple[str, ...], *, flat: bool = False) -> operations.Block:
        matrices = [scores.wanda(self._anatomy.weight(x), self._anatomy.squared_norm(x)) for x in linears]
        return [x.flatten() for x in matrices] if flat else matrices


def _finished(function: Function, released: bool, block: operations.Block) -> float:
    """The importance of a block, of which REDUCE gives `block`."""
    if released:
        return published.post_process(function.post, block[0])
    return operations.post_process(function.post, block, pooled=function.reduce == "NO_OP")


def _check(values: list[float]) -> None:
    """Raise Invalid unless `values` rank blocks."""
    if not all(map(math.isfinite, values)):
        raise Invalid("the importance of a block is NaN or infinite")
    if len(values) > 1 and max(values) - min(values) <= CONSTANT * max(map(abs, values)):
        raise Invalid(f"all blocks have the same importance, {values[0]:.6g}")
