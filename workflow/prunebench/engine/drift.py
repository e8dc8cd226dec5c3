"""How far the inputs of a site have drifted from the dense model's, summed over the calibration tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunebench.engine.block import BlockView
from prunebench.engine.products import product
from prunebench.engine.statistics import SiteStatistic, add_gram
from prunebench.models.base import Site

HELD_OUT = 4
"""Every fourth calibration window is held out."""
LEAST = 1e-6
"""The least root mean square of a token's hidden states by which values are divided."""


@dataclass
class Drift:
    """Sums over tokens, float64. X holds the inputs of a site in the pruned model, X_d in the dense model."""

    gram: Tensor
    """X X^T [in, in], its lower triangle; numbers above the diagonal mean nothing."""
    cross: Tensor
    """(X_d - X) X^T [in, in], which serves all linears of a site. If the site's only linear mends hidden states,
    (Y - W X) X^T [out, in], where Y = W X_d + R_d - R, and R is what the block adds to the output."""
    mends: bool = False
    """Whether `cross` has outputs."""
    tokens: int = 0
    dtype: torch.dtype = torch.float32
    """The dtype of the forward passes."""

    @property
    def statistic(self) -> SiteStatistic:
        """The Gram matrix and the squared norms of the inputs."""
        return SiteStatistic.of_gram(self.gram, self.tokens)

    def missing(self, weight: Tensor) -> Tensor:
        """(Y - W X) X^T [out, in] for the linear with the unpruned weights W = `weight` [out, in]."""
        return self.cross if self.mends else weight.to(self.cross.dtype) @ self.cross

    def in_float32(self) -> Drift:
        """The sums in float32."""
        return replace(self, gram=self.gram.float(), cross=self.cross.float())

    def of_rows(self, step: int) -> Drift:
        """The sums for every `step`-th output."""
        return replace(self, cross=self.cross[::step]) if self.mends else self

    def __add__(self, other: Drift) -> Drift:
        tokens = self.tokens + other.tokens
        return replace(self, gram=self.gram + other.gram, cross=self.cross + other.cross, tokens=tokens)


def collect(
    block: BlockView, site: Site, weights: Mapping[str, Tensor], *, residual: bool = True, weighted: bool = True
) -> tuple[Drift, Drift]:
    """Collect the sums at `site`, for the windows to fit to and for every fourth window, which is held out.

    `weights` [out, in] are the unpruned weights of the site's linears; linears of earlier sites have their pruned
    weights in the block. If the block adds the output of the site's linear to its hidden states:

    - With `residual`, Y holds the difference of these between the dense and the pruned model: the linear mends it.
    - With `weighted`, each token counts by the inverse mean square of the dense model's hidden states after the sum:
      the norm that follows divides by its root.
    """
    linear = site.linears[0]
    added = block.adds_up and linear in (block.attention_out, block.ffn.down)
    behind = (f"{block.attention_out}.out",) if linear == block.ffn.down else ()
    parts: list[_Sums] = []
    windows = 0
    for batch in block.batches:
        values = block.values_until(batch, linear)
        x = values[f"{linear}.in"]
        drift = block.dense_values(batch, f"{linear}.in").float() - x.float()
        gap = None
        if added and residual:
            states, dense = block.inputs(batch), block.inputs(batch, dense=True)
            gap = (dense.float() - states.float()).flatten(0, -2)
            for point in behind:
                gap += block.dense_values(batch, point).float() - values[point].float()
        if added and weighted:
            root = _roots(block, batch, linear)
            x, drift, gap = (x / root).to(_wide(x.dtype)), drift / root, None if gap is None else gap / root
        count, length = block.inputs(batch).shape[:2]
        parts = parts or [_Sums(weights, x, gap) for _ in range(2)]
        for part, held_out in zip(parts, (False, True), strict=True):
            chosen = [row for row in range(count) if ((windows + row) % HELD_OUT == HELD_OUT - 1) == held_out]
            if chosen:
                missing = None if gap is None else _rows(gap, chosen, length)
                part.add(_rows(x, chosen, length), _rows(drift, chosen, length), missing)
        windows += count
    return parts[0].drift(), parts[1].drift()


def _roots(block: BlockView, batch: int, linear: str) -> Tensor:
    """The root mean square [tokens, 1] of the dense model's hidden states to which `linear` has added its output."""
    if linear == block.ffn.down:
        states = block.dense_outputs()[batch].to(block.inputs(batch).device).float().flatten(0, -2)
    else:
        states = block.inputs(batch, dense=True).float().flatten(0, -2) + block.dense_values(batch, f"{linear}.out")
    return states.square().mean(dim=1, keepdim=True).sqrt().clamp_min(LEAST)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """A dtype for quotients of values of `dtype`: float16 would overflow."""
    return torch.float32 if dtype == torch.float16 else dtype


def _rows(values: Tensor, windows: Sequence[int], length: int) -> Tensor:
    """The rows of some windows among values [windows * length, width]."""
    return torch.cat([values[window * length : (window + 1) * length] for window in windows])


class _Sums:
    """The sums of a part of the windows."""

    def __init__(self, weights: Mapping[str, Tensor], x: Tensor, gap: Tensor | None) -> None:
        self._weights, self._tokens, self._gap, self._dtype = weights, 0, gap is not None, x.dtype
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
        return Drift(self._gram, self._cross, self._gap, self._tokens, self._dtype)
