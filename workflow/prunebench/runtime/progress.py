"""Progress of a job: a bar on a terminal, one line per step in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
log = logging.getLogger("prunebench")


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield `items`, and report each as one finished `what`."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, unit=what, leave=False)
        return
    start = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        log.info(_line(what, done, len(items), start))


@contextmanager
def tally(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """Yield a function to be called after each finished `what`, with a note on the state."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, unit=what) as bar:

            def count(note: str) -> None:
                bar.set_postfix_str(note, refresh=False)
                bar.update()

            yield count
        return
    start, done = time.monotonic(), 0

    def report(note: str) -> None:
        nonlocal done
        done += 1
        log.info("%s: %s", _line(what, done, total, start), note)

    yield report


def _line(what: str, done: int, total: int, start: float) -> str:
    elapsed = time.monotonic() - start
    return f"{what} {done} of {total}, {elapsed:.1f} s, {elapsed / done * (total - done):.0f} s left"
