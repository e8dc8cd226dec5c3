"""What an allocation is worth: perplexity on held-out text of one-shot masks from dense statistics.

One-shot: all masks follow from the statistics of the unpruned model, so that judging an allocation takes one forward
pass and no pruning. How well that ranks allocations for sequential pruning is an empirical question (docs/dsa.md).
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
"""How many weights of each row go, by linear in the order of the model. Equal counts are equal masks."""


class MaskedWeights(Mapping[str, Tensor]):
    """The weights of a model with the lowest Wanda scores of each row at zero, masked when they are read.

    Of every weight only its rank in its row is kept, 2 bytes of it: masks of any sparsity are one comparison away.
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
        """How many weights of each row are zero now."""
        return tuple(self._counts.values())

    @counts.setter
    def counts(self, counts: Counts) -> None:
        self._counts = dict(zip(self._ranks, counts, strict=True))


def _ranks(anatomy: Anatomy, linear: str) -> Tensor:
    """The rank of each weight [out, in] in its row by Wanda's score, zeros before all others."""
    weight = anatomy.weight(linear)
    return masks.ranks(masks.zeros_first(scores.wanda(weight, anatomy.squared_norm(linear)), weight))


class Fitness:
    """Judges allocations of one model on the same windows of text, int64 [n, seqlen]."""

    def __init__(
        self, model: StreamedModel, weights: MaskedWeights, anatomy: Anatomy, windows: Tensor, batch_size: int
    ) -> None:
        """`weights` are among the `overrides` of `model`."""
        self._model, self._weights, self._windows, self._batch_size = model, weights, windows, batch_size
        self._widths = {linear: width for linear, (_, width) in anatomy.sizes.items()}

    def counts(self, allocation: Allocation) -> Counts:
        """What `allocation` comes to for Wanda: weights of each row. It may be of a part of the model."""
        return tuple(masks.pruned_count(width, allocation.get(linear, 0.0)) for linear, width in self._widths.items())

    def perplexity(self, counts: Counts) -> float:
        """exp of the mean loss per predicted token. Raises CellFailure if a loss, or that, is not finite."""
        self._weights.counts = counts
        losses = window_losses(self._model, self._windows, self._batch_size, quiet=True)
        return perplexity(losses, "the tuning text")
