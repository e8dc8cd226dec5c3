"""Dense copies of packed models, which can be saved in the usual form."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from prunebench.packed.linear import PackedLinear
from prunebench.packed.semi_structured import SemiStructuredLinear


def is_packed(model: PreTrainedModel) -> bool:
    """Whether `model`, which is in memory, computes on packed weights."""
    return any(isinstance(module, PackedLinear | SemiStructuredLinear) for module in model.modules())


def dense_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Copy a packed `model` with dense linears in place of its packed ones; the other tensors are shared.

    It takes the memory of the dense weights. Weights have the dtype of the model, in which it computes.
    """
    known: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        if isinstance(module, PackedLinear):
            weight = replace(module.matrix, dtype=model.dtype).expanded()
        elif isinstance(module, SemiStructuredLinear):
            weight = module._weight[0].to_dense()
        else:
            continue
        known[id(module)] = _linear(weight.to(model.dtype), module.bias)
    copied: PreTrainedModel = copy.deepcopy(model, known)
    vars(copied).pop("save_pretrained", None)  # that of a packed model refuses
    return copied


def _linear(weight: Tensor, bias: nn.Parameter | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = bias
    return made
