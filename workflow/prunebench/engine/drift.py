"""How far the inputs of a site have drifted from the dense model's, summed over the calibration tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prunebench.engine.block import BlockView
from prunebench.engine.products import product
from prunebench.engine.statistics import SiteStatistic, add_gram
from prunebench.models.base import Site

HELD_OUT = 4
"""Every fourth calibration window is held out."""
SAME = 0.02
"""The relative difference up to which a sum in the dtype of the forward pass counts as equal."""


@dataclass
class Drift:
    """Sums over tokens, float64. X holds the inputs of a site in the pruned model, X_d in the dense model."""

    gram: Tensor
    """X X^T [in, in], its lower triangle; numbers above the diagonal mean nothing."""
    missing: dict[str, Tensor]
    """(Y - W X) X^T [out, in] by linear, where Y = W X_d + R_d - R, and R is what the block adds to the output."""
    tokens: int = 0

    @property
    def statistic(self) -> SiteStatistic:
        """The Gram matrix and the squared norms of the inputs."""
        return SiteStatistic.of_gram(self.gram, self.tokens)

    def of_rows(self, step: int) -> Drift:
        """The sums for every `step`-th output."""
        return Drift(self.gram, {linear: cross[::step] for linear, cross in self.missing.items()}, self.tokens)

    def __add__(self, other: Drift) -> Drift:
        missing = {linear: cross + other.missing[linear] for linear, cross in self.missing.items()}
        return Drift(self.gram + other.gram, missing, self.tokens + other.tokens)


def collect(
    block: BlockView, site: Site, weights: Mapping[str, Tensor], *, residual: bool = True
) -> tuple[Drift, Drift]:
    """Collect the sums at `site`, for the windows to fit to and for every fourth window, which is held out.

    `weights` [out, in] are the unpruned weights of the site's linears; linears of earlier sites have their pruned
    weights in the block. With `residual`, and if the block adds the output of the site's linear to its hidden states,
    Y holds the difference of these between the dense and the pruned model, so that the linear mends it.
    """
    linear = site.linears[0]
    added = _added(block, linear) if residual else None
    points = [f"{linear}.in", *(added or ())]
    parts: list[_Sums] = []
    windows = 0
    for batch in block.batches:
        values = block.values(batch, points, until=linear)
        x = values[points[0]]
        drift = block.dense_values(batch, points[0]).float() - x.float()
        gap = None
        if added is not None:
            states, dense = block.inputs(batch), block.inputs(batch, dense=True)
            gap = (dense.float() - states.float()).flatten(0, -2)
            for point in added:
                gap += block.dense_values(batch, point).float() - values[point].float()
        count, length = block.inputs(batch).shape[:2]
        parts = parts or [_Sums(weights, x, gap) for _ in range(2)]
        for part, held_out in zip(parts, (False, True), strict=True):
            chosen = [row for row in range(count) if ((windows + row) % HELD_OUT == HELD_OUT - 1) == held_out]
            if chosen:
                missing = None if gap is None else _rows(gap, chosen, length)
                part.add(_rows(x, chosen, length), _rows(drift, chosen, length), missing)
        windows += count
    return parts[0].drift(), parts[1].drift()


def _rows(values: Tensor, windows: Sequence[int], length: int) -> Tensor:
    """The rows of some windows among values [windows * length, width]."""
    return torch.cat([values[window * length : (window + 1) * length] for window in windows])


class _Sums:
    """The sums of a part of the windows."""

    def __init__(self, weights: Mapping[str, Tensor], x: Tensor, gap: Tensor | None) -> None:
        self._weights, self._tokens, self._gap = weights, 0, gap is not None
        width = x.shape[1]
        self._gram = x.new_zeros(width, width, dtype=torch.float64)
        # The drift of the inputs serves all linears of a site; a gap is a part of the outputs of the only linear.
        self._cross = x.new_zeros(width if gap is None else gap.shape[1], width, dtype=torch.float64)

    def add(self, x: Tensor, drift: Tensor, gap: Tensor | None) -> None:
        self._tokens += len(x)
        add_gram(self._gram, x)
        if gap is not None:
            (weight,) = self._weights.values()
            drift = product(drift.to(x.dtype), weight.T, x.dtype) + gap
        self._cross += product(drift.T, x, x.dtype)

    def drift(self) -> Drift:
        if self._gap:
            missing = dict.fromkeys(self._weights, self._cross)
        else:
            missing = {linear: weight.double() @ self._cross for linear, weight in self._weights.items()}
        return Drift(self._gram, missing, self._tokens)


def _added(block: BlockView, linear: str) -> tuple[str, ...] | None:
    """The points whose values a block adds to its input to have what it adds to the output of `linear`.

    None if the output of `linear` is not added to the hidden states. Some architectures put norms or factors in
    between, so the first window shows whether the block's output is its input plus both outputs.
    """
    if linear not in (block.attention_out, block.ffn.down):
        return None
    outs = [f"{block.attention_out}.out", f"{block.ffn.down}.out"]
    values = block.values(0, outs, row=0)
    states = block.inputs(0)[0].float()
    change = block.forward(0, row=0)[0].float() - states
    missed = change - sum(values[point].float() for point in outs)
    if missed.norm() > SAME * change.norm():
        return None
    return tuple(outs[:1]) if linear == block.ffn.down else ()
