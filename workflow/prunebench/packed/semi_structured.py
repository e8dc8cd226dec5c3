"""Linears whose 2:4 weights run on the sparse matrix units of a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.sparse import to_sparse_semi_structured


class SemiStructuredLinear(nn.Module):
    """A linear with a 2:4 weight in PyTorch's semi-structured format, of 9/16 of the bytes of 16-bit weights."""

    def __init__(self, weight: Tensor, bias: nn.Parameter | None) -> None:
        """`weight` [out, in] is already in that format, and on the device where it stays."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = bias
        # Neither a parameter nor a buffer: the format knows no conversion of dtype or device.
        self._weight = [weight]

    def forward(self, x: Tensor) -> Tensor:
        """Compute x W^T + b for x [..., in_features]."""
        return linear(x, self._weight[0], self.bias)


def semi_structured(weight: Tensor) -> Tensor | None:
    """Bring a weight [out, in] of a GPU into the semi-structured format.

    The result is None if more than two of four neighbours are not zero, or if the device, the dtype or the shape has no
    such format: then the weight stays dense.
    """
    if weight.shape[1] % 4 or int(weight.reshape(-1, 4).count_nonzero(dim=1).max()) > 2:
        return None
    try:
        made: Any = to_sparse_semi_structured(weight)
        # Some devices make the format and then have no product for it.
        linear(torch.zeros(1, weight.shape[1], dtype=weight.dtype, device=weight.device), made)
    except (RuntimeError, ValueError):
        return None
    return made  # type: ignore[no-any-return]
