"""Matrix products of 16-bit factors with float32 sums."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from prunebench.engine.placement.device import sums_in_float32


def product(a: Tensor, b: Tensor, bits: torch.dtype) -> Tensor:
    """a @ b, where both factors may be rounded to `bits`; products of 16-bit values are exact and summed in float32.

    A plain bfloat16 product would round its result to 8 bits; a float32 product takes several times as long. Factors
    that come from `factor` need no copy.
    """
    if bits in (torch.float32, torch.float64):
        return a.to(bits) @ b.to(bits)
    if sums_in_float32(a.device, bits):
        return torch.mm(a.to(bits), b.to(bits), out_dtype=torch.float32)
    if bits != torch.bfloat16:
        return a.float() @ b.float()
    with bfloat16_products():
        return a.float() @ b.float()


def factor(x: Tensor) -> Tensor:
    """`x` in the dtype in which `product` takes it, for factors of many products."""
    return x if sums_in_float32(x.device, x.dtype) else x.float()


@contextmanager
def bfloat16_products() -> Iterator[None]:
    """Let CPUs that can round the factors of float32 products to bfloat16; sums stay in float32."""
    settings: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before
