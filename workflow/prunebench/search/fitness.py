"""The value of an allocation: the perplexity of one-shot masks on held-out text.

One-shot means that all masks come from the statistics of the unpruned model, so that an allocation is judged by one
forward pass without pruning. How well that ranks allocations for sequential pruning is discussed in docs/dsa.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from prunebench.allocators.base import Allocation
from prunebench.engine.anatomy import Anatomy
from prunebench.engine.loss import perplexity, window_losses
from prunebench.engine.model import StreamedModel
from prunebench.formulas import masks, scores

Counts = tuple[int, ...]
"""The number of zeros in each row of every linear, in the order of the model. Equal counts mean equal masks."""


class MaskedWeights(Mapping[str, Tensor]):
    """The weights of a model with the lowest Wanda scores of each row set to zero when they are read.

    Only the rank of every weight in its row is kept (2 bytes): one comparison gives the mask of any sparsity.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        self._ranks = {f"{linear}.weight": _ranks(anatomy, linear) for linear in anatomy.sizes}
        self._counts = dict.fromkeys(self._ranks, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ranks)

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, name: object) -> bool:
        return name in self._ranks

    def __getitem__(self, name: str) -> Tensor:
        weight = self._anatomy.weight(name.removesuffix(".weight"))
        count = self._counts[name]
        return masks.zeroed(weight, self._ranks[name] < count) if count else weight

    @property
    def counts(self) -> Counts:
        """The current number of zeros in each row of every linear."""
        return tuple(self._counts.values())

    @counts.setter
    def counts(self, counts: Counts) -> None:
        self._counts = dict(zip(self._ranks, counts, strict=True))


def _ranks(anatomy: Anatomy, linear: str) -> Tensor:
    """Ranks [out, in] of the weights within their rows, by Wanda's score; zeros rank lowest."""
    weight = anatomy.weight(linear)
    return masks.ranks(masks.zeros_first(scores.wanda(weight, anatomy.squared_norm(linear)), weight))


class Fitness:
    """Judges allocations of one model on the same windows of text, int64 [n, seqlen]."""

    def __init__(
        self, model: StreamedModel, weights: MaskedWeights, anatomy: Anatomy, windows: Tensor, batch_size: int
    ) -> None:
        """`weights` must be the `overrides` of `model`."""
        self._model, self._weights, self._windows, self._batch_size = model, weights, windows, batch_size
        self._widths = {linear: width for linear, (_, width) in anatomy.sizes.items()}

    def counts(self, allocation: Allocation) -> Counts:
        """The zeros of each row that Wanda makes of `allocation`; linears that it does not mention have none."""
        return tuple(masks.pruned_count(width, allocation.get(linear, 0.0)) for linear, width in self._widths.items())

    def perplexity(self, counts: Counts) -> float:
        """exp of the mean loss per predicted token. Raises CellFailure if it is not finite."""
        self._weights.counts = counts
        losses = window_losses(self._model, self._windows, self._batch_size, quiet=True)
        return perplexity(losses, "the tuning text")
