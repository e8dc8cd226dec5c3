"""Forward passes through a block that wait at its sites, so that one pass serves all sites in true sequential order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from greenlet import greenlet
from torch import Tensor, nn

from prunebench.engine.attention import QuickAttention
from prunebench.errors import PrunebenchError

Watching = Callable[[], AbstractContextManager[dict[str, Tensor]]]
"""A context in which forward passes write values into the dictionary that it gives."""


class Passes:
    """One forward pass through a block for each calibration batch. Each goes on when it is asked to.

    While a pass waits at the input of a linear, the weights behind that point may change, and the pass goes on with
    them. Each pass is a coroutine of its own inside the block's `forward`, which knows nothing of it.
    """

    def __init__(self, module: nn.Module, run: Callable[[int], Tensor], batches: int, watching: Watching) -> None:
        """`run` computes the output [batch, seqlen, hidden] of a batch.

        `watching` and QuickAttention are active while a pass goes on.
        """
        self._module, self._watching = module, watching
        self._passes = [greenlet(run) for _ in range(batches)]
        self._values: list[dict[str, Tensor]] = [{} for _ in range(batches)]

    def until(self, batch: int, linear: str) -> dict[str, Tensor]:
        """Let the pass of `batch` go on to the input of `linear`. Returns all values that were watched so far.

        Raises PrunebenchError if the block's forward pass does not call the linear.
        """
        with self._watching() as values:
            # This hook must come after those that watch: they see the input before the pass waits.
            handle = self._module.get_submodule(linear).register_forward_pre_hook(_wait)
            try:
                self._go_on(batch)
            finally:
                handle.remove()
        if self._passes[batch].dead:
            raise PrunebenchError(
                f"blocks of this model do not call {linear} after the linears before it: this variant of the "
                "architecture is not known"
            )
        self._values[batch] |= values
        return self._values[batch]

    def output(self, batch: int) -> Tensor:
        """Let the pass of `batch` go on to its end. Returns the block's output [batch, seqlen, hidden]."""
        self._values[batch].clear()
        output: Tensor = self._go_on(batch)
        return output

    @torch.no_grad()
    def _go_on(self, batch: int) -> Any:
        current = self._passes[batch]
        with QuickAttention():
            return current.switch() if current else current.switch(batch)


def _wait(*_: object) -> None:
    """Leave the pass in which a linear is called, until it is asked to go on."""
    parent = greenlet.getcurrent().parent
    assert parent is not None, "the linear is called outside a pass"
    parent.switch()
