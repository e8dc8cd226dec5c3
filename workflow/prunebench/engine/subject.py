"""The model that a suite evaluates: whole, or streamed block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prunebench.engine.finite import cause
from prunebench.engine.model import StreamedModel
from prunebench.errors import CellFailure
from prunebench.formulas.finite import is_finite
from prunebench.models.base import Family
from prunebench.storage.tensors import PackedStore, TensorStore


@dataclass(frozen=True)
class Subject:
    """The model in `directory`, with the pruned tensors of the file `weights` in place of its own."""

    directory: Path
    """The directory of the model and its tokenizer."""
    family: type[Family]
    weights: Path | None
    dtype: torch.dtype
    """The dtype of the forward passes."""
    storage: torch.dtype | None
    """The dtype to which all weights are rounded first; None if each keeps its own."""
    batch_size: int

    @property
    def dense(self) -> Subject:
        """The model before pruning."""
        return replace(self, weights=None)

    @property
    def pruned(self) -> Mapping[str, Tensor]:
        """The tensors that pruning changed."""
        if self.weights is None:
            return {}
        return PackedStore(self.weights, TensorStore(self.directory, self.storage))

    def check_logits(self, _: Tensor, logits: Tensor) -> Tensor:
        """Return the logits [batch, vocabulary] of the next token: a logits processor of transformers.

        Raises CellFailure if one is not finite. Greedy decoding would take the first token instead.
        """
        if not is_finite(logits):
            raise CellFailure(f"a logit is NaN or infinite: {self.cause()}")
        return logits

    def cause(self) -> str:
        """The likely reason for numbers that are not finite."""
        return cause(self.streamed().tensors, self.dtype)

    def whole(self) -> PreTrainedModel:
        """The transformers model with all blocks in memory."""
        return self.streamed().whole()

    def streamed(self) -> StreamedModel:
        """The model with one block in memory at a time, for passes over much text."""
        return StreamedModel(self.directory, self.family, dtype=self.dtype, storage=self.storage, overrides=self.pruned)
