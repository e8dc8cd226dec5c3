"""Showing how far a job is: a bar on a terminal, one line per step in a log. Changes no number."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
log = logging.getLogger("prunebench")


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield `items`, reporting each as one `what` done."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, unit=what, leave=False)
        return
    start = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        elapsed = time.monotonic() - start
        left = elapsed / done * (len(items) - done)
        log.info("%s %d of %d, %.1f s, %.0f s left", what, done, len(items), elapsed, left)
