"""GPU leases for the jobs of one workstation: the process that holds a GPU's lock file may use it.

Snakemake's resource `gpu` limits how many jobs run at once but assigns no GPU, and CUDA gives every job the first one.
The kernel drops the locks of a process when it ends, so a crashed job leaves nothing to clean up. This module must not
import torch: CUDA reads which GPUs are visible when torch is loaded, so the lease comes first.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from prunebench.engine.placement.choice import CHOICE
from prunebench.errors import PrunebenchError
from prunebench.storage.locks import lock

log = logging.getLogger("prunebench")

DEVICES = Path("/dev")
GPUS_PER_JOB = 1
"""The number of GPUs that a stage which runs the model can use."""
LOCKS = Path("/tmp")
"""The directory of the lock files, the same for all users and projects of a machine, whatever their TMPDIR."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID")
"""Variables that are set in jobs of SLURM, PBS, LSF and Grid Engine, which assign GPUs themselves."""
QUESTION = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
"""The command that prints the name and the MiB of each GPU."""
SHORTEST_WAIT, LONGEST_WAIT = 0.001, 0.5
"""The seconds between two attempts to take a GPU, which double after each attempt."""

_for_life = ExitStack()


def gpus_here() -> int:
    """The number of GPUs of this machine that jobs may take: none if PRUNEBENCH_DEVICE names the CPU."""
    return 0 if os.environ.get(CHOICE) == "cpu" else sum(1 for _ in DEVICES.glob("nvidia[0-9]*"))


@cache
def first_gpu() -> tuple[str, float | None] | None:
    """The name and the bytes of memory of this machine's first GPU; None if nvidia-smi does not tell them.

    The memory alone is None for a GPU that shares the memory of the host. A driver that sleeps takes seconds to answer.
    """
    try:
        run = subprocess.run(QUESTION, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    name, _, size = run.stdout.partition("\n")[0].rpartition(", ")
    return (name, int(size) * 2.0**20 if size.isdecimal() else None) if name else None


def gpus_per_job(*, elsewhere: bool) -> int:
    """The number of GPUs to request for a job that runs the model; `elsewhere` means on a scheduler's machines.

    It is 0 on a CPU-only machine: with the limit of one GPU in profiles/default, jobs would run one by one.
    """
    return GPUS_PER_JOB if elsewhere or gpus_here() else 0


def gpus_given() -> int:
    """The number of GPUs to request inside a scheduler's job: 1 if it has any, else 0, as more would be refused."""
    return GPUS_PER_JOB if os.environ.get(VISIBLE) else 0


def take_gpus(count: int = GPUS_PER_JOB) -> tuple[int, ...]:
    """Wait for `count` free GPUs, hold them until this process ends, and let CUDA show no others.

    Returns their numbers. It takes none and changes nothing on a machine without GPUs, in a scheduler's job, or if
    CUDA_VISIBLE_DEVICES is set or PRUNEBENCH_DEVICE names a GPU by its number. Raises PrunebenchError if the machine
    has fewer GPUs.
    """
    devices = range(gpus_here())
    chosen = VISIBLE in os.environ or ":" in os.environ.get(CHOICE, "")
    if not count or not devices or chosen or any(name in os.environ for name in SCHEDULERS):
        return ()
    taken = _for_life.enter_context(held(count, devices, LOCKS))
    # All jobs number GPUs like nvidia-smi; CUDA's own order differs.
    os.environ |= {VISIBLE: ",".join(map(str, taken)), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    log.info("on GPU %s", os.environ[VISIBLE])
    return taken


@contextmanager
def held(count: int, devices: Sequence[int], locks: Path) -> Iterator[tuple[int, ...]]:
    """Wait for `count` of `devices`, hold their locks in the directory `locks`, and yield their numbers.

    Only one process at a time may take GPUs: it holds a separate lock, the gate, and the others queue for that. So two
    jobs of two GPUs never hold one each and wait for the other, and jobs of few GPUs never pass a job of many.
    """
    if count > len(devices):
        raise PrunebenchError(
            f"this job wants {count} GPUs, the machine has {len(devices)}: run it where there are more"
        )
    with ExitStack() as stack:
        with ExitStack() as queue:
            gate = _open(locks / "prunebench-gpus.lock", queue)
            if not lock(gate):
                log.info("waiting for a GPU: other jobs wait for one, too")
                fcntl.flock(gate, fcntl.LOCK_EX)
            taken = _collect(count, devices, locks, stack)
        yield taken


def _collect(count: int, devices: Sequence[int], locks: Path, stack: ExitStack) -> tuple[int, ...]:
    files = {device: _open(locks / f"prunebench-gpu-{device}.lock", stack) for device in devices}
    taken: list[int] = []
    wait = SHORTEST_WAIT
    while True:
        for device in devices:
            if len(taken) < count and device not in taken and lock(files[device]):
                taken.append(device)
        if len(taken) == count:
            return tuple(sorted(taken))
        if wait == SHORTEST_WAIT:
            log.info("waiting for a GPU: other jobs have %d of %d", len(devices) - len(taken), len(devices))
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _open(file: Path, stack: ExitStack) -> int:
    """Create `file` if needed, which may be another user's, and open it for as long as `stack` lasts."""
    with suppress(FileExistsError, PermissionError):
        created = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL)
        os.fchmod(created, 0o666)
        os.close(created)
    descriptor = _opened(file)
    stack.callback(os.close, descriptor)
    with suppress(PermissionError):
        os.utime(descriptor)  # cleaners of /tmp delete files that look old
    return descriptor


def _opened(file: Path) -> int:
    """Open `file`, retrying while its creator (another user) has not yet made it readable."""
    for _ in range(100):
        with suppress(PermissionError):
            return os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        time.sleep(0.01)
    raise PrunebenchError(f"{file} cannot be read: its owner, or root, has to delete it or to `chmod a+r` it")
