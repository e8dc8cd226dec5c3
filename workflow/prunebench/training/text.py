"""The choice of documents for training: they share no text with each other or with the texts of evaluation."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prunebench.assets.corpora import percentile

RUN = 13
"""The number of consecutive words that two documents must share to count as the same text."""
HELD_OUT = 2
"""The percentage of the documents that are never trained on."""


class Texts(NamedTuple):
    """The documents for training, the held-out documents, and the number of those left out."""

    training: list[str]
    held_out: list[str]
    left_out: int
    """The number of documents that share text with those in `unseen`, or with another document."""


def divide(documents: list[str], unseen: Iterable[str], seed: int) -> Texts:
    """Hold out documents by their hash; the others, in a random order from `seed`, are for training.

    No document for training shares a run of words with a held-out document, a document in `unseen` or another document
    for training. No held-out document shares one with documents in `unseen`.
    """
    known = {run for document in unseen for run in runs(document)}
    held_out = list(_apart((document for document in documents if percentile(document) < HELD_OUT), known))
    training = list(_apart((document for document in documents if percentile(document) >= HELD_OUT), known))
    random.Random(seed).shuffle(training)
    return Texts(training, held_out, len(documents) - len(training) - len(held_out))


def runs(document: str) -> set[int]:
    """The digests of all runs of `RUN` consecutive words (all words of a shorter document), without case or spacing."""
    words = document.lower().split()
    starts = range(max(1, len(words) - RUN + 1))
    return {_digest(" ".join(words[start : start + RUN])) for start in starts}


def _apart(documents: Iterable[str], known: set[int]) -> Iterator[str]:
    """The documents that have no run in `known`; their runs are added to `known`."""
    for document in documents:
        digests = runs(document)
        if digests.isdisjoint(known):
            known |= digests
            yield document


def _digest(text: str) -> int:
    # Python's hash() of a string differs between processes.
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
