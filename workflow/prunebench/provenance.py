"""What a job ran on and what it cost: written beside results, read by `collect` only, never part of a spec."""

import importlib.metadata
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from prunebench.files import write_json

LIBRARIES = ("prunebench", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute, as far as they are installed as packages."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Measurement:
    """Wall time, CPU time and peak memory from its creation to `write`."""

    def __init__(self) -> None:
        self._start, self._cpu_start = time.monotonic(), time.process_time()

    def write(self, path: Path, **more: Any) -> None:
        """Write seconds, CPU seconds (of all threads), peak memory (MiB, of host and GPU), device, host, versions and
        `more` to `path` as JSON."""
        record: dict[str, Any] = {
            **more,
            "seconds": round(time.monotonic() - self._start, 3),
            "cpu_seconds": round(time.process_time() - self._cpu_start, 3),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "host": platform.node(),
            "machine": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "command": sys.argv,
            "versions": versions(),
            **_gpu(),
        }
        write_json(path, record)


def _gpu() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {"device": "cpu"}
    return {
        "device": torch.cuda.get_device_name(),
        "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1),
    }
