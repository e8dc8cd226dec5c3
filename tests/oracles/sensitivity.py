"""The sensitivities of the outputs of linears in a plain model, from all derivatives of the outputs of their block."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def squared(
    run: Callable[[], Any], block: nn.Module, linears: Mapping[str, nn.Module], scaled: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """sum_t |d f / d y_tr|^2 [out] for each linear, y_tr being its output r for token t.

    `run()` runs the model, and f are the outputs [windows, tokens, hidden] of `block`, after `scaled`. Each element of
    f has a backward pass of its own.
    """
    outputs: dict[str, Tensor] = {}
    ends: list[Tensor] = []

    def add(name: str) -> Callable[..., Tensor]:
        def added(_: Any, __: Any, output: Tensor) -> Tensor:
            outputs[name] = torch.zeros_like(output, requires_grad=True)
            return output + outputs[name]

        return added

    handles = [linear.register_forward_hook(add(name)) for name, linear in linears.items()]
    handles += [block.register_forward_hook(lambda _, __, output: ends.append(output))]
    run()
    for handle in handles:
        handle.remove()
    (end,) = ends
    totals = {name: torch.zeros(output.shape[-1], dtype=output.dtype) for name, output in outputs.items()}
    for element in scaled(end[0] if isinstance(end, tuple) else end).flatten():
        gradients = torch.autograd.grad(element, list(outputs.values()), retain_graph=True)
        for total, gradient in zip(totals.values(), gradients, strict=True):
            total += gradient.flatten(0, -2).square().sum(dim=0).cpu()
    return totals
