"""The beginning and the end of commands that run a model: threads, device, progress, and a word after Ctrl-C."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from prunebench.engine.placement.choice import AUTO, CHOICE

if TYPE_CHECKING:
    from prunebench.config.values import Compute


def prepare(dtype: str, batch_size: int, threads: int | None, device: str) -> Compute:
    """Set threads and device before torch is imported, and show progress. Raises PrunebenchError for a wrong device."""
    from rich.console import Console
    from rich.logging import RichHandler

    from prunebench.runtime.script import set_environment
    from prunebench.standalone.request import compute_settings

    compute = compute_settings(dtype, batch_size, threads)
    set_environment(compute.threads)
    console = Console(stderr=True, highlight=False)
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler], force=True)
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
