"""A model in a process of its own: how long it takes to load, and how much memory the process needs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from prunebench.errors import PrunebenchError
from prunebench.lazy import torch

_CHILD = """
import json, sys
job = json.loads(sys.argv[1])
sys.path[:] = job["path"]
from prunebench.packed.fresh import answer
answer(*job["arguments"])
"""
"""The program of the new process. Python's own pools would run the user's script once more in it."""


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
    job = {"path": sys.path, "arguments": [str(directory), dtype, prompt, torch.get_num_threads()]}
    run = subprocess.run([sys.executable, "-c", _CHILD, json.dumps(job)], capture_output=True, text=True, check=False)
    if run.returncode < 0:
        raise PrunebenchError(f"a process that loads {directory} was killed: free some memory, and run this again")
    if run.returncode:
        raise PrunebenchError(f"a process that loads {directory} failed: {run.stderr.strip().splitlines()[-1]}")
    told = json.loads(run.stdout.splitlines()[-1])
    if "error" in told:
        raise PrunebenchError(told["error"])
    return Fresh(**told)


def answer(directory: str, dtype: str, prompt: int, threads: int) -> None:
    """Print the cost of the model in `directory` as JSON, or the reason why it cannot be loaded."""
    try:
        told = _used(Path(directory), dtype, prompt, threads)._asdict()
    except PrunebenchError as error:
        told = {"error": str(error)}
    print(json.dumps(told))


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
