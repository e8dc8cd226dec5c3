"""The machine, the versions and the cost of a job: written beside results, but never part of a spec."""

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prunebench import __version__
from prunebench.config.packaged import IN_CHECKOUT
from prunebench.errors import PrunebenchError
from prunebench.storage.sealed import write_record

LIBRARIES = (
    "prunebench",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "prodigyopt",
    "lm_eval",
    "datasets",
    "pillow",
)


def versions() -> dict[str, str]:
    """The versions of Python and of the installed libraries that compute."""
    installed = {library: number for library in LIBRARIES if (number := version(library))}
    return {"python": platform.python_version(), **installed}


@cache
def version(library: str) -> str | None:
    """The version of a package, without an import of it; None if it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def refuse_other_versions(planned: Mapping[str, str | None]) -> None:
    """Raise PrunebenchError unless the libraries have the versions that the spec was planned with.

    They differ if Snakemake was started from another environment than the one that jobs run in.
    """
    for library, number in planned.items():
        if version(library) != number:
            raise PrunebenchError(
                f"this job runs with {library} {version(library) or 'not installed'}, but was planned with "
                f"{number or 'none'}: install the same version where snakemake is started and where its jobs run"
            )


def conditions() -> dict[str, Any]:
    """The versions and the device, which may change last bits but are in no spec: a resumed job must not mix them."""
    return {"versions": versions(), "device": _device()["device"]}


class Measurement:
    """The wall time, the CPU time and the peak memory from its creation to `write`."""

    def __init__(self) -> None:
        self._start, self._cpu_start = time.monotonic(), time.process_time()

    def write(self, path: Path, **more: Any) -> None:
        """Write seconds, CPU seconds (all threads), peak memory of host and GPU (MiB), machine, versions and `more`."""
        record: dict[str, Any] = {
            **more,
            "seconds": round(time.monotonic() - self._start, 3),
            "cpu_seconds": round(time.process_time() - self._cpu_start, 3),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            **_machine(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "command": sys.argv,
            "code": code_revision(),
            "versions": versions(),
            **_device(),
        }
        write_record(path, record)


@cache
def code_revision() -> str | None:
    """The git revision of this code, with "-dirty" if it has local edits; None for a checkout that is no repository.

    An installed package has its version instead. Git would name the repository that its environment lies in, if any.
    """
    if not IN_CHECKOUT:
        return f"prunebench {version('prunebench') or __version__}"
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None


def _machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return {
        "host": platform.node(),
        "os": platform.platform(),
        "machine": named[1] if named else platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
    }


def _device() -> dict[str, Any]:
    """The device that models run on, and the peak of its memory; of several devices, the highest peak."""
    if "torch" not in sys.modules:
        return {"device": "cpu"}
    import torch

    from prunebench.engine.placement.device import best_device, cards, name_and_memory, own_memory, peak_memory

    if not own_memory(device := best_device()):
        return {"device": "cpu"}
    name, memory = name_and_memory(device)
    peak = max(peak_memory(card) for card, _ in cards(device))
    return {
        "device": name,
        "gpu_memory_mb": memory // 2**20,
        **({"cuda": torch.version.cuda} if torch.version.cuda else {}),
        "peak_gpu_memory_mb": round(peak / 2**20, 1),
    }
