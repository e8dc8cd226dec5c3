"""Settles everything about one pruning before any work: the method, the plan, and where the result goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prunebench.errors import PrunebenchError
from prunebench.estimate.devices import Device
from prunebench.standalone.duration import expected_seconds, in_words
from prunebench.standalone.recommend import recommend
from prunebench.standalone.request import Request, Work, feed_forward, tell_of_slow_dtype, work


@dataclass(frozen=True)
class Prepared:
    """A request that can be met."""

    request: Request
    """The request, with a method and an allocator."""
    work: Work
    notes: tuple[str, ...] = ()
    """Advice for the user before the work begins: the choice of a method, options without effect, and the time."""
    choice: str | None = None
    """The choice of a method and the reason for it; None if the user has named the method."""


def prepared(request: Request, unread: Sequence[str] = (), machine: Device | None = None) -> Prepared:
    """Choose a method if `request` names none, and check everything that can be checked before any work.

    `unread` are options about calibration that were given. They have no effect on a method that looks at no text, so
    that a script can change the method alone. Times are those of `machine`, which is by default this one. Raises
    PrunebenchError, which names the wrong option.
    """
    if request.method is None and request.params:
        raise PrunebenchError("--param belongs to a method: name it with --method")
    if request.allocator is None and request.allocator_params:
        raise PrunebenchError("--allocator-param belongs to an allocator: name it with --allocator")
    choice = None
    if request.method is None:
        ffn = feed_forward(request.model, stored=request.stored)
        place = "here" if machine is None or machine.memory is None else f"on {machine.title}"
        best = recommend(
            request.pattern,
            request.sparsity,
            ffn,
            lambda *choice: _seconds(_with(request, *choice), machine),
            place,
        )
        request = _with(request, best.method, best.allocator)
        choice = f"{request.method} with {request.allocator}: {best.why}"
    concrete = work(request)
    if choice or concrete.cell.calibrated:  # else no forward pass is run
        tell_of_slow_dtype(request.compute.dtype)
    ignored = None
    if not concrete.cell.calibrated and unread:
        ignored = f"{request.method} with {concrete.cell.allocator} looks at no text: ignoring {', '.join(unread)}"
        concrete = work(replace(request, tokens=None, text=None, column=None, bos=None, corpus=Request.corpus))
    threads = request.compute.threads
    time = in_words(expected_seconds(concrete.plan, concrete.cell, threads), threads)
    return Prepared(request, concrete, tuple(filter(None, (choice, ignored, time))), choice)


def _with(request: Request, method: str, allocator: str) -> Request:
    """Return `request` with a method, and with an allocator unless it names one."""
    return replace(request, method=method, allocator=request.allocator or allocator)


def _seconds(request: Request, machine: Device | None) -> float:
    """Estimate the time of `request` on `machine`; infinite for a method that cannot do it."""
    try:
        concrete = work(request)
    except PrunebenchError:
        return math.inf
    return expected_seconds(concrete.plan, concrete.cell, request.compute.threads, machine)
