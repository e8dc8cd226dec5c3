"""What an unpruned block does with the hidden states of the dense model, kept while the block is pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from prunebench.engine.placement.spill import Spill

DENSE_RESIDENT = 2.0
"""GiB of the dense model's values of a block that are kept in memory; the rest goes to files."""


class DenseRecord:
    """The outputs of an unpruned block on the dense stream, and the values at some points in it."""

    def __init__(self, points: Sequence[str], down: str, tokens: int, spill: Spill) -> None:
        """`points` are kept, the last of them the output of the attention; `down` is the output of the FFN."""
        self.outputs: list[Tensor] = []
        """The block's outputs [batch, seqlen, hidden], each on the device of its input."""
        self.adds_up = False
        """Whether the block's output is its input plus the outputs of attention and FFN."""
        self._points, self._down, self._tokens, self._spill = points, down, tokens, spill
        self._values: dict[str, Tensor] = {}
        self._ends = [0]
        """The number of tokens before each batch, and of all."""

    def add(self, states: Tensor, outputs: Tensor, values: Mapping[str, Tensor]) -> None:
        """Keep the pass of the next batch: its inputs `states`, its `outputs`, and `values` [tokens, width]."""
        self.outputs.append(outputs.to(states.device))
        start, end = self._ends[-1], self._ends[-1] + states.shape[:-1].numel()
        self._ends.append(end)
        for point in self._points:
            rows = values[point]
            if point not in self._values:
                self._values[point] = self._spill.empty(self._tokens, rows.shape[1], rows.dtype)
            self._values[point][start:end] = rows
        if start == 0:
            before, after = (whole.to(values[self._down].device).flatten(0, -2) for whole in (states, outputs))
            self.adds_up = _is_sum(after, [before, values[self._points[-1]], values[self._down]])

    def values(self, batch: int, point: str) -> Tensor:
        """The values [tokens, width] at `point` on calibration batch `batch`."""
        return self._values[point][self._ends[batch] : self._ends[batch + 1]]


def _is_sum(total: Tensor, terms: Sequence[Tensor]) -> bool:
    """Whether each element of `total` is the sum of its `terms`, but for rounding of partial sums in their dtype.

    The states of a few tokens may be a thousand times as large as anything that a block adds to them, so that a norm
    over all tokens would show nothing but their rounding.
    """
    missed = total.float() - sum(term.float() for term in terms)
    size = total.float().abs() + sum(term.float().abs() for term in terms)
    return bool((missed.abs() <= torch.finfo(total.dtype).eps * size).all())
