"""Causal attention in bfloat16 on a processor for calibration, more than twice as fast as the kernel of torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from prunebench.engine.products import bfloat16_products

PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
"""The parameters of torch's attention that may be given by position."""
QUERIES = 64
"""The queries that are computed together: keys behind the last of them are left out."""
SCORES = 2**19
"""The most float32 scores of one thread at a time, so that they stay in its cache."""


def repeatable_attention() -> AbstractContextManager[None]:
    """A context in which the backward pass of attention gives equal bits each time.

    The fused kernels of GPUs sum in any order there.
    """
    return sdpa_kernel(SDPBackend.MATH)


class QuickAttention(TorchFunctionMode):
    """A context in which torch's causal attention is computed by `causal_attention` wherever that function applies.

    It applies to bfloat16 on a processor, without a mask, dropout, or gradients, as in the forward passes of whole
    windows. All architectures that call torch's attention gain, and everything else is left to torch. Evaluations do
    not use it: their logits are bit for bit those of plain transformers.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute `func`."""
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            call = {**dict(zip(PARAMETERS, args, strict=False)), **kwargs}
            if _applies(call):
                return causal_attention(call["query"], call["key"], call["value"], scale=call.get("scale"))
        return func(*args, **kwargs)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    """softmax(`scale` Q K^T) V [batch, heads, tokens, out] in bfloat16, where each token sees itself and earlier ones.

    `query` is [batch, heads, tokens, in], `key` [batch, groups, tokens, in] and `value` [batch, groups, tokens, out],
    where consecutive heads share a group. `scale` is 1 / sqrt(in) by itself. Factors of products are rounded to
    bfloat16; scores, their softmax and sums are in float32, as in the kernel of torch.
    """
    batch, heads, tokens, width = query.shape
    groups, shared = key.shape[1], heads // key.shape[1]
    scale = width**-0.5 if scale is None else scale
    queries = query.reshape(batch * groups, shared, tokens, width)
    keys, values = key.reshape(batch * groups, tokens, width), value.reshape(batch * groups, tokens, -1)
    output = query.new_empty(*queries.shape[:3], values.shape[2])
    hidden = torch.ones(QUERIES, QUERIES, dtype=torch.bool).triu(1)
    together = max(1, SCORES * torch.get_num_threads() // (shared * QUERIES * tokens))
    for first in range(0, batch * groups, together):
        part = slice(first, first + together)
        turned, summed = keys[part].float().transpose(1, 2).contiguous(), values[part].float()
        for start in range(0, tokens, QUERIES):
            end = min(start + QUERIES, tokens)
            rows = queries[part, :, start:end].float().flatten(1, 2)
            with bfloat16_products():
                scores = torch.bmm(rows, turned[:, :, :end]).mul_(scale).unflatten(1, (shared, -1))
            scores[..., start:].masked_fill_(hidden[: end - start, : end - start], -math.inf)
            weights = scores.softmax(dim=-1).flatten(1, 2)
            with bfloat16_products():
                output[part, :, start:end] = torch.bmm(weights, summed[:, :end]).unflatten(1, (shared, -1))
    return output.view(batch, heads, tokens, -1)


def _applies(call: Mapping[str, Any]) -> bool:
    """Whether `causal_attention` computes a call of torch's attention, whose arguments are given by name."""
    query, key, value = tensors = [call[name] for name in ("query", "key", "value")]
    if not call.get("is_causal") or call.get("attn_mask") is not None or call.get("dropout_p"):
        return False
    return (
        all(tensor.dim() == 4 and tensor.device.type == "cpu" for tensor in tensors)
        and all(tensor.dtype == torch.bfloat16 for tensor in tensors)
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
        and query.shape[0] == key.shape[0] == value.shape[0]
        and query.shape[2] == key.shape[2] == value.shape[2] > 0
        and key.shape[1] == value.shape[1] > 0
        and query.shape[1] % key.shape[1] == 0
        and (bool(call.get("enable_gqa")) or query.shape[1] == key.shape[1])
    )
