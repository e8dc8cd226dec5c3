"""Loads a packed model: the transformers model, with packed linears in place of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from prunebench.engine.model import StreamedModel
from prunebench.engine.placement.device import own_memory
from prunebench.engine.subject import Subject
from prunebench.errors import PrunebenchError
from prunebench.packed.linear import DenseLinear, PackedLinear
from prunebench.packed.matrix import PackedMatrix
from prunebench.packed.semi_structured import SemiStructuredLinear, semi_structured
from prunebench.storage.layout import read_layout
from prunebench.storage.sealed import Damaged
from prunebench.storage.tensors import TensorStore


def load_packed(directory: Path, dtype: torch.dtype | None = None, device: str | None = None) -> PreTrainedModel:
    """Load the packed model in `directory`, and compute in `dtype` (default: that of its weights).

    A model that is not packed is loaded as it is. Raises PrunebenchError if the directory holds no whole model, or if
    a file is damaged.
    """
    layout = read_layout(directory)
    dtype = dtype or getattr(torch, layout.dtype)
    streamed = StreamedModel(directory, layout.family, dtype=dtype, storage=None, device=device)
    return _without_saving(streamed.whole(replace=partial(_pack, streamed.tensors)), directory)


def twin(model: PreTrainedModel, blocks: str, make: Callable[[str, nn.Linear], nn.Module | None]) -> PreTrainedModel:
    """A copy of `model` on the same tensors, with what `make` returns in place of the linears of its `blocks`."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copied: PreTrainedModel = copy.deepcopy(model, dict(tensors))
    replace_linears(copied.get_submodule(blocks), make)
    return copied


def by_dense_kernel(model: PreTrainedModel, blocks: str) -> PreTrainedModel:
    """A twin of a dense `model` that uses our own dense kernel: the control of what packing itself wins."""
    return twin(model, blocks, lambda _, linear: DenseLinear(linear.weight, linear.bias))


@dataclass(frozen=True)
class PackedSubject(Subject):
    """A packed model for suites: as a whole it computes on packed weights, and one block at a time it is expanded."""

    def whole(self) -> PreTrainedModel:
        """The transformers model with packed linears."""
        return load_packed(self.directory, self.dtype)


def _pack(tensors: TensorStore, block: nn.Module, prefix: str, device: torch.device) -> None:
    """Replace the linears of `block` whose weights are packed in their file.

    Devices with memory of their own take 2:4 weights as they can, and keep all others dense.
    """

    def packed(name: str, linear: nn.Linear) -> nn.Module | None:
        weight = f"{prefix}{name}.weight"
        if not tensors.is_packed(weight):
            return None
        if own_memory(device):
            sparse = semi_structured(tensors[weight].to(device, linear.weight.dtype))
            return None if sparse is None else SemiStructuredLinear(sparse, linear.bias)
        try:
            parts = tensors.packed(weight)
            matrix = PackedMatrix.of_dense(tensors[weight]) if parts is None else PackedMatrix.of_parts(parts)
        except ValueError as error:
            raise Damaged(tensors.file(weight), f"is damaged ({weight}: {error})") from None
        return PackedLinear(matrix, linear.bias)

    replace_linears(block, packed)


def replace_linears(root: nn.Module, make: Callable[[str, nn.Linear], nn.Module | None]) -> None:
    """Put what `make` returns, unless it is None, in the place of each linear below `root`; it gets name and linear."""
    for name, module in list(root.named_modules()):
        if isinstance(module, nn.Linear) and (made := make(name, module)) is not None:
            parent, _, child = name.rpartition(".")
            setattr(root.get_submodule(parent), child, made)


def _without_saving(model: Any, directory: Path) -> PreTrainedModel:
    """Let `save_pretrained` say what to do: it would write a directory that loads with random weights."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PrunebenchError(
            f"a packed model is saved by copying {directory}, or densely by prunebench export --dense {directory} DIR"
        )

    if any(isinstance(module, PackedLinear) for module in model.modules()):
        model.save_pretrained = refuse
    result: PreTrainedModel = model
    return result
