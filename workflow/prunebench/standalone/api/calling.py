"""The frame of every Python function: its device, its progress, and how errors are worded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from transformers.utils import logging

from prunebench.config.values import Compute
from prunebench.engine.placement.choice import CHOICE
from prunebench.engine.placement.device import best_device
from prunebench.errors import PrunebenchError, disk_errors_told
from prunebench.runtime.progress import Listener, drawn, shown
from prunebench.standalone.arguments import dtype_of, in_python
from prunebench.standalone.request import compute_settings

Device = str | torch.device | None
"""A name of torch (cpu, cuda, cuda:1, xpu), a device, or "auto". None means what PRUNEBENCH_DEVICE names, or auto."""
Progress = bool | Listener | None
"""True for a bar everywhere, False for none, None for one on a terminal, or a function that gets each Step."""


@contextmanager
def called(device: Device, progress: Progress, names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Compute on `device` and show `progress` for as long as the context lasts, and word errors for Python.

    `names` are words that errors replace. Raises PrunebenchError for a device that is not here.
    """
    before = os.environ.get(CHOICE)
    with ExitStack() as stack:
        stack.enter_context(in_python(names))
        stack.enter_context(disk_errors_told())
        stack.enter_context(shown(_checked(progress)))
        if not drawn():
            stack.enter_context(no_bars())
        if device is not None:
            _check_device(device)
            os.environ[CHOICE] = str(device)
        try:
            yield
        finally:
            os.environ.pop(CHOICE, None)
            if before is not None:
                os.environ[CHOICE] = before


@contextmanager
def no_bars() -> Iterator[None]:
    """Let transformers draw no bar of its own, which would say nothing of the user's work."""
    drawing = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if drawing:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def settings(dtype: str | torch.dtype, batch_size: int, threads: int | None) -> Compute:
    """Return the settings of forward passes. All arguments have been checked."""
    return compute_settings(dtype_of(dtype) or "bfloat16", batch_size, threads)


def _checked(progress: Progress) -> Progress:
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise PrunebenchError("'progress' is neither True or False nor a function that takes a prunebench.Step")
    return progress


def _check_device(device: Device) -> None:
    if not isinstance(device, str | torch.device):
        raise PrunebenchError(f"'device' is of the type {type(device).__name__}: give auto, cpu, or a name of torch")
    best_device(str(device))
