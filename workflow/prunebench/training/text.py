"""Which documents are trained on: none that shares text with what models are scored on, or with another one."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prunebench.assets.corpora import percentile

RUN = 13
"""Words in a row that two documents must share to count as the same text."""
HELD_OUT = 2
"""Percent of the documents that are never trained on."""


class Texts(NamedTuple):
    """What `divide` makes of a body of text."""

    training: list[str]
    held_out: list[str]
    left_out: int
    """Documents that share text with those in `unseen`, or repeat another one."""


def divide(documents: list[str], unseen: Iterable[str], seed: int) -> Texts:
    """Hold out documents by their hash; the others, in an order that `seed` decides, are for training.

    No document for training shares a run of words with one that is held out, with one in `unseen` or with another one
    for training; nor does one that is held out with those in `unseen`.
    """
    seen = {run for document in unseen for run in runs(document)}
    held_out = list(_apart((document for document in documents if percentile(document) < HELD_OUT), seen))
    training = list(_apart((document for document in documents if percentile(document) >= HELD_OUT), seen))
    random.Random(seed).shuffle(training)
    return Texts(training, held_out, len(documents) - len(training) - len(held_out))


def runs(document: str) -> set[int]:
    """A digest of every `RUN` words in a row (all words of a shorter document), whatever their case and spacing."""
    words = document.lower().split()
    starts = range(max(1, len(words) - RUN + 1))
    return {_digest(" ".join(words[start : start + RUN])) for start in starts}


def _apart(documents: Iterable[str], seen: set[int]) -> Iterator[str]:
    """Those of `documents` that have no run in `seen`, to which their own are added."""
    for document in documents:
        mine = runs(document)
        if mine.isdisjoint(seen):
            seen |= mine
            yield document


def _digest(text: str) -> int:
    # Not hash(): that of a string is another one in every process.
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
