"""A model in a process of its own: how long it takes to load, and how much memory the process needs."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from prunebench.errors import PrunebenchError
from prunebench.lazy import torch


class Fresh(NamedTuple):
    """The cost of loading a model and using it once."""

    load: float
    """Seconds from the directory to the model, without the imports of libraries."""
    peak: float
    """The largest memory of the process, with its libraries, in MB (10^6 bytes)."""


def in_fresh_process(directory: Path, dtype: str, prompt: int) -> Fresh:
    """Load the model in `directory` in a new process, read a prompt there and write a token.

    Raises PrunebenchError if the directory holds no whole model, or if the process dies because memory runs out.
    """
    # A forked process would begin with the memory of this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            return pool.submit(_used, directory, dtype, prompt, torch.get_num_threads()).result()
        except BrokenProcessPool:
            raise PrunebenchError(
                f"a process that loads {directory} was killed: free some memory, and run this again"
            ) from None


def _used(directory: Path, dtype: str, prompt: int, threads: int) -> Fresh:
    from prunebench.packed.load import load_packed
    from prunebench.packed.timing import in_turn

    torch.set_num_threads(threads)
    start = time.perf_counter()
    model = load_packed(directory, getattr(torch, dtype))
    load = time.perf_counter() - start
    in_turn({"": model}, batch=1, prompt=prompt, tokens=2, repeats=1)
    return Fresh(load, _peak() / 1e6)


def _peak() -> int:
    """The largest number of bytes of memory that this process has had."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):  # not on Linux, where the number below may be of the process that started this one
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
