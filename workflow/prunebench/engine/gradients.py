"""Gradients of the loss by the weights, on calibration tokens: the only place that runs a whole model backwards.

It does not stream, as it needs the weights of all linears at once. Memory is the whole model, a float32 number for
each weight (twice the size of a bfloat16 model), and the graph of one window's backward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from prunebench.engine.attention import repeatable_attention
from prunebench.engine.model import StreamedModel
from prunebench.runtime.progress import track

SCALE = 2.0**10
"""The factor on the loss in the backward pass: gradients of float16 models may be too small for float16."""


def calibration_gradients(model: StreamedModel, tokens: Tensor) -> dict[str, Tensor]:
    """G = sqrt(sum_s (dL_s / dW)^2) of every prunable linear, by full name: float32 [out, in] on the CPU.

    L_s is the mean next-token cross-entropy of the unpruned model on window s of `tokens`, int64 [samples, seqlen]
    (Dong et al. 2024, Pruner-Zero, code for G). The forward and backward passes are in the model's dtype, squares and
    their sums in float32. `model` cannot be used afterwards.

    The published code takes its windows from the training split of WikiText-2, on whose test split it reports
    perplexity; here they are the calibration windows of all methods. It computes in training mode, with dropout, scales
    gradients by 100 and rounds G to float16; here the model is in evaluation mode, and G is not rounded. The loss is
    scaled by a power of two, which changes no bit unless the dtype is float16, where small gradients would be lost.
    """
    model.check_length(tokens.shape[1])
    whole = model.whole(beside=torch.float32.itemsize)
    squares = {}
    for block in range(model.blocks):
        for linear in model.family.linears():
            name = model.family.full_name(block, linear)
            squares[name] = _sum_of_squares(whole.get_parameter(f"{name}.weight"))
    with repeatable_attention():
        for window in track(tokens.to(model.device).unbind(), "window"):
            (SCALE * _loss(whole, window)).backward()
    return {name: total.sqrt_().cpu() for name, total in squares.items()}


def _loss(model: nn.Module, window: Tensor) -> Tensor:
    """The mean cross-entropy (nats per predicted token) of one window of token ids [seqlen]."""
    logits = model(input_ids=window[None], use_cache=False).logits[0, :-1].float()
    return nn.functional.cross_entropy(logits, window[1:])


def _sum_of_squares(weight: Tensor) -> Tensor:
    """Float32 zeros [out, in], to which every later backward pass adds the squared gradient by `weight`.

    Each gradient is freed at once, so that they are never all in memory.
    """
    total = torch.zeros_like(weight, dtype=torch.float32)
    weight.requires_grad_(True)
    weight.register_post_accumulate_grad_hook(_adding_to(total))
    return total


def _adding_to(total: Tensor) -> Callable[[Tensor], None]:
    def add(weight: Tensor) -> None:
        assert weight.grad is not None
        gradient = weight.grad.float() / SCALE
        total.addcmul_(gradient, gradient)
        weight.grad = None

    return add
