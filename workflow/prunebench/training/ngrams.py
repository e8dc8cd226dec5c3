"""Unigrams and interpolated Kneser-Ney trigrams of the same tokens, which a model must beat."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
ORDER = 3


def unigram_losses(training: Integers, targets: Integers, vocabulary: int) -> Floats:
    """-ln p of each of `targets` [n] by its frequency in the stream `training`, with every count raised by one."""
    counts = np.bincount(training, minlength=vocabulary) + 1
    losses: Floats = -np.log(counts / counts.sum())[targets]
    return losses


class Trigrams:
    """Interpolated Kneser-Ney (Chen and Goodman 1999, eq. 16-20), one discount per order, uniform below unigrams.

    n-grams are numbers in base `vocabulary` with the last token as last digit: the context is a quotient, and the
    n-gram without its first token a remainder.
    """

    def __init__(self, training: Integers, vocabulary: int) -> None:
        """Count the n-grams of the stream `training`."""
        self._vocabulary = vocabulary
        grams = np.zeros(len(training) - ORDER + 1, dtype=np.int64)
        for place in range(ORDER):
            grams = grams * vocabulary + training[place : len(grams) + place]
        self._levels = []
        for order in range(ORDER, 0, -1):
            level = _Level.count(grams, vocabulary)
            self._levels.append(level)
            # Below the highest order an n-gram counts once for each token before it.
            grams = level.grams % vocabulary ** (order - 1)

    def losses(self, contexts: Integers, targets: Integers) -> Floats:
        """-ln p of each of `targets` [n] after its two tokens in `contexts` [n, 2]."""
        probability: Floats = np.full(len(targets), 1 / self._vocabulary)
        for used, level in enumerate(reversed(self._levels)):
            context = np.zeros(len(targets), dtype=np.int64)
            for place in range(ORDER - 1 - used, ORDER - 1):
                context = context * self._vocabulary + contexts[:, place]
            probability = level.interpolate(context, context * self._vocabulary + targets, probability)
        losses: Floats = -np.log(probability)
        return losses


@dataclass(frozen=True)
class _Level:
    """The sorted n-grams of one order and their counts, and the sorted contexts with their total counts."""

    grams: Integers
    counts: Integers
    contexts: Integers
    totals: Integers
    kinds: Integers
    """The number of different tokens that follow each context."""
    discount: float

    @classmethod
    def count(cls, occurring: Integers, vocabulary: int) -> "_Level":
        grams, counts = np.unique(occurring, return_counts=True)
        contexts, starts, kinds = np.unique(grams // vocabulary, return_index=True, return_counts=True)
        once, twice = (int((counts == times).sum()) for times in (1, 2))
        # One is added to each: every token keeps a chance, also if no n-gram occurs only once.
        discount = (once + 1) / (once + 1 + 2 * (twice + 1))
        return cls(grams, counts, contexts, np.add.reduceat(counts, starts), kinds, discount)

    def interpolate(self, contexts: Integers, grams: Integers, lower: Floats) -> Floats:
        """p(token | context) from this order and `lower`, the p of the order below; for an unknown context, `lower`."""
        total, kinds = (_look_up(self.contexts, values, contexts) for values in (self.totals, self.kinds))
        kept = np.maximum(_look_up(self.grams, self.counts, grams) - self.discount, 0)
        mixed: Floats = np.where(total > 0, (kept + self.discount * kinds * lower) / np.maximum(total, 1), lower)
        return mixed


def _look_up(keys: Integers, values: Integers, queries: Integers) -> Integers:
    """The value of each of `queries`, or 0 if it is not among the sorted `keys`."""
    places = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[places] == queries, values[places], 0)
