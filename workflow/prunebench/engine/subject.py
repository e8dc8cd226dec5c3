"""The model that a suite evaluates, in the two forms that suites want."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prunebench.engine.model import StreamedModel
from prunebench.engine.placement.device import best_device
from prunebench.models.base import Family
from prunebench.storage.tensors import PackedStore, TensorStore


@dataclass(frozen=True)
class Subject:
    """The model in `directory`, with some of its tensors replaced by the pruned ones in `weights` if there are any."""

    directory: Path
    """Also holds the tokenizer."""
    family: type[Family]
    weights: Path | None
    dtype: torch.dtype
    """Of the forward passes."""
    storage: torch.dtype | None
    """The dtype to which all weights are rounded first; None if each keeps its own."""
    batch_size: int

    @cached_property
    def device(self) -> torch.device:
        """Where it runs."""
        return best_device()

    @property
    def pruned(self) -> Mapping[str, Tensor]:
        """The tensors that pruning changed."""
        if self.weights is None:
            return {}
        return PackedStore(self.weights, TensorStore(self.directory, self.storage))

    def whole(self) -> PreTrainedModel:
        """All of it in memory, as transformers has it."""
        return self.streamed().whole()

    def streamed(self) -> StreamedModel:
        """One block in memory at a time: for passes over much text."""
        return StreamedModel(
            self.directory,
            self.family,
            dtype=self.dtype,
            storage=self.storage,
            device=self.device,
            overrides=self.pruned,
        )
