"""What a model must beat: counting. Unigrams, and interpolated Kneser-Ney trigrams, of the same tokens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
ORDER = 3


def unigram_losses(training: Integers, targets: Integers, vocabulary: int) -> Floats:
    """-ln p of each of `targets` by its frequency in the stream `training`, each token counted once more."""
    counts = np.bincount(training, minlength=vocabulary) + 1
    losses: Floats = -np.log(counts / counts.sum())[targets]
    return losses


class Trigrams:
    """Interpolated Kneser-Ney (Chen and Goodman 1999, eq. 16-20), one discount per order, uniform below unigrams.

    n-grams are numbers in base `vocabulary`, their last token the last digit: dropping the first token is a remainder,
    taking the context a quotient.
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
            # Below the highest order an n-gram counts once for each token that it follows.
            grams = level.grams % vocabulary ** (order - 1)

    def losses(self, contexts: Integers, targets: Integers) -> Floats:
        """-ln p of each of `targets` after its two tokens in `contexts` [n, 2]."""
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
    """The n-grams of one order: all that occur, sorted, and their counts; the same by context."""

    grams: Integers
    counts: Integers
    contexts: Integers
    totals: Integers
    kinds: Integers
    """Different tokens that follow a context."""
    discount: float

    @classmethod
    def count(cls, occurring: Integers, vocabulary: int) -> "_Level":
        grams, counts = np.unique(occurring, return_counts=True)
        contexts, starts, kinds = np.unique(grams // vocabulary, return_index=True, return_counts=True)
        once, twice = (int((counts == times).sum()) for times in (1, 2))
        # One more of each: every token keeps a chance, also where no n-gram occurs only once.
        discount = (once + 1) / (once + 1 + 2 * (twice + 1))
        return cls(grams, counts, contexts, np.add.reduceat(counts, starts), kinds, discount)

    def interpolate(self, contexts: Integers, grams: Integers, lower: Floats) -> Floats:
        """p(token | context) from this order and `lower`, the p of the order below; where a context is new, that."""
        total, kinds = (_look_up(self.contexts, values, contexts) for values in (self.totals, self.kinds))
        kept = np.maximum(_look_up(self.grams, self.counts, grams) - self.discount, 0)
        mixed: Floats = np.where(total > 0, (kept + self.discount * kinds * lower) / np.maximum(total, 1), lower)
        return mixed


def _look_up(keys: Integers, values: Integers, wanted: Integers) -> Integers:
    """The value of each `wanted` key, 0 if it is not among the sorted `keys`."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
