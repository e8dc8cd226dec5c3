"""Settles everything about one pruning before any work: the method, the plan, and where the result goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prunebench.errors import PrunebenchError
from prunebench.standalone.duration import expected_seconds, in_words
from prunebench.standalone.recommend import recommend
from prunebench.standalone.request import Request, Work, feed_forward, work


@dataclass(frozen=True)
class Prepared:
    """A request that can be met."""

    request: Request
    """The request, with a method and an allocator."""
    work: Work
    notes: tuple[str, ...] = ()
    """Advice for the user before the work begins: the choice of a method, the reason for it, and the time."""


def prepared(request: Request, unread: Sequence[str] = ()) -> Prepared:
    """Choose a method if `request` names none, and check everything that can be checked before any work.

    `unread` are options about calibration that were given. Raises PrunebenchError, which names the wrong option.
    """
    if request.method is None and request.params:
        raise PrunebenchError("--param belongs to a method: name it with --method")
    if request.allocator is None and request.allocator_params:
        raise PrunebenchError("--allocator-param belongs to an allocator: name it with --allocator")
    notes = []
    if request.method is None:
        ffn = feed_forward(request.model, stored=request.stored)
        best = recommend(request.pattern, request.sparsity, ffn, lambda *choice: _seconds(_with(request, *choice)))
        request = _with(request, best.method, best.allocator)
        notes.append(f"{request.method} with {request.allocator}: {best.why}")
    concrete = work(request)
    if not concrete.cell.calibrated and unread:
        raise PrunebenchError(
            f"{request.method} with {concrete.cell.allocator} looks at no text: leave out {', '.join(unread)}"
        )
    threads = request.compute.threads
    notes.append(in_words(expected_seconds(concrete.plan, concrete.cell, threads), threads))
    return Prepared(request, concrete, tuple(notes))


def _with(request: Request, method: str, allocator: str) -> Request:
    """Return `request` with a method, and with an allocator unless it names one."""
    return replace(request, method=method, allocator=request.allocator or allocator)


def _seconds(request: Request) -> float:
    """Estimate the time of `request`; infinite for a method that cannot do it."""
    try:
        concrete = work(request)
    except PrunebenchError:
        return math.inf
    return expected_seconds(concrete.plan, concrete.cell, request.compute.threads)
