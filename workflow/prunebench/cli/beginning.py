"""The beginning and the end of commands that run a model: threads, device, progress, and a word after Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from prunebench.engine.placement.choice import AUTO, CHOICE

if TYPE_CHECKING:
    from prunebench.config.values import Compute


class _Lines(logging.Handler):
    """Writes messages as lines that nothing breaks, above the bars of a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # as of all handlers of logging
            self.handleError(record)


def prepare(dtype: str, batch_size: int, threads: int | None, device: str) -> Compute:
    """Set threads and device before torch is imported, and show progress. Raises PrunebenchError for a wrong device."""
    from prunebench.runtime.script import set_environment
    from prunebench.standalone.request import compute_settings

    compute = compute_settings(dtype, batch_size, threads)
    set_environment(compute.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Lines()], force=True)
    if device not in (AUTO, "cpu"):
        from prunebench.engine.placement.device import best_device

        best_device(device)  # an absent one is refused before any work
    os.environ[CHOICE] = device
    return compute


@contextmanager
def resumable() -> Iterator[None]:
    """Tell a user who presses Ctrl-C that the same command goes on from here."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise
