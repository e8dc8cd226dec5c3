"""Linears in place of torch's: packed ones, and a dense one by our own kernel, which is the control."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from prunebench.packed import kernels
from prunebench.packed.matrix import PackedMatrix

FEW = 8
"""The greatest number of rows of an input that the kernel of vectors is faster for than expanding the weights."""
MANY = 192
"""The number of rows of an input from which a product takes so long that tiles need not fit into a cache."""
SMALL_TILE, LARGE_TILE = 1 << 22, 1 << 25
"""The numbers of bytes of weights that are expanded at a time, for fewer rows than MANY and for more."""
_buffers = threading.local()


class _Linear(nn.Module):
    """The base of both linears: the call of a kernel, which is prepared once and again when tensors have moved."""

    def __init__(self, in_features: int, out_features: int, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.bias = bias
        self._call: kernels.Call | None = None

    def _few(self, x: Tensor) -> kernels.Call | None:
        """The kernel for the input `x` if it can run on it: few vectors, on the CPU, and no gradient to carry back."""
        vectors = x.numel() // self.in_features
        if not 0 < vectors <= FEW or (x.requires_grad and torch.is_grad_enabled()):
            return None
        return self._kernel(x)

    def _kernel(self, x: Tensor) -> kernels.Call | None:
        if x.device.type != "cpu":
            return None
        if self._call is None and (library := kernels.chosen().library) is not None:
            bias = None if self.bias is None else self.bias.detach().float().contiguous()
            self._call = self._prepare(library, bias)
        return self._call

    def _prepare(self, library: Any, bias: Tensor | None) -> kernels.Call | None:
        raise NotImplementedError

    def _apply(self, *args: Any, **options: Any) -> Any:
        self._call = None
        return super()._apply(*args, **options)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        self._call = None
        super()._load_from_state_dict(*args, **options)

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy, which has to prepare a call of its own."""
        return {**self.__dict__, "_call": None}

    def extra_repr(self) -> str:
        """Describe the linear as torch does."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class PackedLinear(_Linear):
    """A linear whose weight is a packed matrix. Zeros are neither stored nor read.

    Few vectors are multiplied by a kernel that reads the packed weights. For more, tiles of the weights are expanded
    into a small buffer, and the library multiplies by them; the weights are never expanded as a whole.
    """

    _PARTS = ("mask", "values", "starts", "scales")

    def __init__(self, matrix: PackedMatrix, bias: nn.Parameter | None = None) -> None:
        super().__init__(matrix.columns, matrix.rows, bias)
        self._dtypes = {}
        self._shape = matrix.columns, matrix.dtype, matrix.group
        # Buffers of integers, which a change of the model's dtype leaves as they are.
        for name in self._PARTS:
            part = getattr(matrix, name)
            self._dtypes[name] = None if part is None else part.dtype
            self.register_buffer(name, None if part is None else part.view(_integer(part)))

    @property
    def matrix(self) -> PackedMatrix:
        """The packed weight."""
        columns, dtype, group = self._shape
        parts: dict[str, Any] = {name: getattr(self, name) for name in self._PARTS}
        views: dict[str, Any] = {
            name: None if part is None else part.view(self._dtypes[name]) for name, part in parts.items()
        }
        return PackedMatrix(columns, dtype, **views, group=group)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x W^T + b for x [..., in_features], in the dtype of x."""
        if (call := self._few(x)) is not None:
            return call.product(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)
        return self._by_tiles(x)

    def _prepare(self, library: Any, bias: Tensor | None) -> kernels.Call | None:
        matrix = self.matrix
        return kernels.Call(library, matrix, bias) if matrix.values.dtype in kernels.KINDS else None

    def _by_tiles(self, x: Tensor) -> Tensor:
        matrix, call = self.matrix, self._kernel(x)
        if matrix.scales is not None:
            # The kernel multiplies by products of values and scales that are not rounded to the matrix's dtype.
            matrix = replace(matrix, dtype=x.dtype)
        size = matrix.values.element_size()
        flat = x.reshape(-1, self.in_features)
        rows = max(1, (SMALL_TILE if len(flat) < MANY else LARGE_TILE) // (self.in_features * size))

        def product(first: int, last: int) -> Tensor:
            if call is None or size > 2:
                tile = matrix.expanded(first, last)
            else:
                tile = _scratch((last - first) * self.in_features, matrix.values.dtype).view(-1, self.in_features)
                call.expand(tile, first)
                tile = matrix.scaled(tile, first)
            bias = None if self.bias is None else self.bias[first:last].to(x.dtype)
            return linear(flat, tile.to(x.dtype), bias)

        if rows >= self.out_features:
            return product(0, self.out_features).view(*x.shape[:-1], self.out_features)
        outputs = torch.empty((len(flat), self.out_features), dtype=x.dtype, device=x.device)
        for first in range(0, self.out_features, rows):
            last = min(first + rows, self.out_features)
            outputs[:, first:last] = product(first, last)
        return outputs.view(*x.shape[:-1], self.out_features)


class DenseLinear(_Linear):
    """A linear with a dense bfloat16 weight, and a kernel of our own for few vectors: what care alone wins."""

    def __init__(self, weight: Tensor, bias: nn.Parameter | None = None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias)
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x W^T + b for x [..., in_features], in the dtype of x."""
        call = self._few(x) if x.dtype == self.weight.dtype == torch.bfloat16 else None
        if call is None:
            return linear(x, self.weight, self.bias)
        return call.product(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)

    def _prepare(self, library: Any, bias: Tensor | None) -> kernels.Call | None:
        return kernels.Call(library, self.weight.detach(), bias)


def _scratch(count: int, dtype: torch.dtype) -> Tensor:
    """A buffer of `count` numbers, which each thread has once: to ask the system for new memory takes longer."""
    size = count * dtype.itemsize
    if getattr(_buffers, "bytes", None) is None or len(_buffers.bytes) < size:
        _buffers.bytes = torch.empty(size, dtype=torch.int8)
    return _buffers.bytes[:size].view(dtype)  # type: ignore[no-any-return]


def _integer(part: Tensor) -> torch.dtype:
    return {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[part.element_size()]
