"""Settles everything about one pruning before any work: the method, the plan, and where the result goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prunebench.errors import PrunebenchError
from prunebench.standalone.recommend import recommend
from prunebench.standalone.request import Request, Work, feed_forward, work


@dataclass(frozen=True)
class Prepared:
    """A request that can be met."""

    request: Request
    """The request, with a method and an allocator."""
    work: Work
    why: str | None = None
    """Why a method was chosen, if the user named none."""


def prepared(request: Request, unread: Sequence[str] = ()) -> Prepared:
    """Choose a method if `request` names none, and check everything that can be checked before any work.

    `unread` are options about calibration that were given. Raises PrunebenchError, which names the wrong option.
    """
    if request.method is None and request.params:
        raise PrunebenchError("--param belongs to a method: name it with --method")
    if request.allocator is None and request.allocator_params:
        raise PrunebenchError("--allocator-param belongs to an allocator: name it with --allocator")
    why = None
    if request.method is None:
        best = recommend(request.pattern, request.sparsity, feed_forward(request.model, stored=request.stored))
        request = replace(request, method=best.method, allocator=request.allocator or best.allocator)
        why = f"{request.method} with {request.allocator}: {best.why}"
    concrete = work(request)
    if not concrete.cell.calibrated and unread:
        raise PrunebenchError(
            f"{request.method} with {concrete.cell.allocator} looks at no text: leave out {', '.join(unread)}"
        )
    return Prepared(request, concrete, why)
