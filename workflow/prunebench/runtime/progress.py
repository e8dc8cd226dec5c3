"""Progress of a job: a bar on a terminal, a few lines in a log, or calls of a function that a user of Python gives."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tqdm import tqdm

from prunebench.runtime.digits import duration

Item = TypeVar("Item")
log = logging.getLogger("prunebench")
EVERY = 30.0
"""The seconds without a line after which a log gets one. Later in a long piece of work, lines are rarer."""
SHARES = 10
"""The number of equal parts of a piece of work, of which a log has a line each."""
PAUSE = 2.0
"""The least number of seconds between two of these lines. The first step and the last one are always told."""
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.7g}/{total} [{elapsed}<{remaining}{postfix}]"
"""The form of a bar, whose number of steps may be a fraction."""


@dataclass(frozen=True)
class Step:
    """How far a piece of work is."""

    what: str
    """The kind of its steps, such as "block"."""
    done: float
    """The number of finished steps, with the finished part of the step that runs now."""
    total: int
    seconds: float
    """The seconds since the beginning of the work."""
    note: str = ""
    """The last parts that were finished, such as the names of matrices."""
    subject: str = ""
    """The model that the work is about; empty for a job of a workflow."""
    before: int = 0
    """The number of steps that an earlier run had finished; `seconds` has no part of them."""

    @property
    def left(self) -> float | None:
        """The seconds that the rest takes at the speed so far; None before there is a speed."""
        done = self.done - self.before
        return self.seconds / done * (self.total - self.done) if done else None


Listener = Callable[[Step], object]
"""A function of a user that is called for each step. What it raises ends the work."""


@dataclass
class _Watch(threading.local):
    """How this thread shows progress, and the pieces of work that are under way in it."""

    listener: Listener | None = None
    bars: bool | None = None
    """Whether bars are drawn; None means on a terminal."""
    subject: str = ""
    before: int = 0
    """The number of steps of the next piece of work that an earlier run has finished."""
    work: list[_Work] = field(default_factory=list)


_watch = _Watch()


@contextmanager
def shown(progress: bool | Listener | None) -> Iterator[None]:
    """Show progress in this thread as `progress` says for as long as the context lasts.

    None draws bars on a terminal, True draws bars everywhere (on stderr), False draws none. A function is called with
    each `Step`, and no bar is drawn.
    """
    before = _watch.listener, _watch.bars
    _watch.listener = progress if callable(progress) else None
    _watch.bars = False if callable(progress) else progress
    try:
        yield
    finally:
        _watch.listener, _watch.bars = before


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Name `subject` in the progress of this thread for as long as the context lasts."""
    before, _watch.subject = _watch.subject, subject
    try:
        yield
    finally:
        _watch.subject = before


@contextmanager
def resuming(steps: int) -> Iterator[None]:
    """Let the next piece of work of this thread, if it begins within the context, start after its first `steps`."""
    _watch.before = steps
    try:
        yield
    finally:
        _watch.before = 0


def track(items: Sequence[Item], what: str, label: Callable[[Item], str] = lambda _: "") -> Iterator[Item]:
    """Yield `items`, and report each as one finished `what`; `label` names the item that is in work."""
    with _under_way(len(items), what, leave=False) as work:
        yield from items[: work.before]
        work.start()
        for item in items[work.before :]:
            work.begin(label(item))
            yield item
            work.finish()


@contextmanager
def tally(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """Yield a function to be called after each finished `what`, with a note on the state."""
    with _under_way(total, what, leave=True) as work:
        yield work.finish


def within(part: float, note: str) -> None:
    """Report that `part` (0 to 1) of the step that is under way is done, and that `note` was finished last.

    Nothing happens outside `track` and `tally`.
    """
    if _watch.work:
        _watch.work[-1].advance(part, note)


def tell(text: str) -> None:
    """Say `text` above the bars of this thread; without bars it goes to the log."""
    if drawn():
        tqdm.write(text, file=sys.stderr)
    else:
        log.info(text)


def drawn() -> bool:
    """Whether this thread draws bars."""
    return sys.stderr.isatty() if _watch.bars is None else _watch.bars


class _Work:
    """A piece of work of `total` steps."""

    def __init__(self, total: int, what: str, leave: bool) -> None:
        self._total, self._subject, self._kind = total, _watch.subject, what
        self._what = f"{self._subject}: {what}" if self._subject else what
        self._start = self._said = time.monotonic()
        self._inner = bool(_watch.work)
        """Whether it is a part of other work of this thread, which has lines of its own."""
        self.before, _watch.before = min(_watch.before, total), 0
        """The number of steps that an earlier run has finished."""
        self._done, self._part = self.before, 0.0
        self._tenth = 0
        """The number of tenths that the last line has told."""
        # A variable of the environment may switch bars off, which matters less than the user's wish.
        self.bar: Any = (
            tqdm(total=total, initial=self.before, desc=self._what, leave=leave, bar_format=BAR, disable=False)
            if drawn()
            else None
        )
        self._silent = self.bar is not None or _watch.bars is not None

    def start(self) -> None:
        """Count the time from now on, after the steps of an earlier run."""
        self._start = self._said = time.monotonic()
        if self.bar is not None:
            self.bar.unpause()

    def begin(self, label: str) -> None:
        """Show the name of the step that begins."""
        if label:
            self._show(label)

    def finish(self, note: str = "") -> None:
        """Report that a step is finished."""
        self._done, self._part = self._done + 1, 0.0
        self._show(note)
        if self._overdue() or (self._is_mark() and not self._inner):
            self._say(f"{self._line()}{f': {note}' if note else ''}")

    def advance(self, part: float, note: str) -> None:
        """Report that a part of the step is done. A log gets a line only now and then."""
        self._part = max(self._part, min(part, 1.0))  # a method may prune a matrix several times
        self._show(note)
        if self._overdue():
            state = f"{100 * self._part:.0f}% done after {duration(time.monotonic() - self._start)}"
            self._say(f"{self._what} {self._done + 1} of {self._total} is {state}: {note}")

    def _is_mark(self) -> bool:
        """Whether the step that is done now is the first, the last, or some time later the end of a tenth."""
        if self._done in (self.before + 1, self._total):
            return True
        tenth = self._done * SHARES // self._total > self._tenth
        return tenth and time.monotonic() - self._said >= PAUSE

    def _overdue(self) -> bool:
        """Whether nothing has been said for long, compared with the time of the work so far."""
        now = time.monotonic()
        return now - self._said >= max(EVERY, (now - self._start) / SHARES)

    def _say(self, line: str) -> None:
        if not self._silent:
            log.info("%s", line)
            self._said, self._tenth = time.monotonic(), self._done * SHARES // self._total

    def _show(self, note: str) -> None:
        done = self._done + self._part
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(round(done, 2) - self.bar.n)
            if done == self._total:
                self.bar.refresh()
        if _watch.listener:
            seconds = time.monotonic() - self._start
            _watch.listener(Step(self._kind, done, self._total, seconds, note, self._subject, self.before))

    def _line(self) -> str:
        elapsed = time.monotonic() - self._start
        left = elapsed / (self._done - self.before) * (self._total - self._done)
        rest = f", about {duration(max(1.0, left))} left" if left else ""
        return f"{self._what} {self._done} of {self._total} done after {duration(elapsed)}{rest}"


@contextmanager
def _under_way(total: int, what: str, *, leave: bool) -> Iterator[_Work]:
    work = _Work(total, what, leave)
    _watch.work.append(work)
    try:
        yield work
    finally:
        _watch.work.remove(work)
        if work.bar is not None:
            work.bar.close()
