"""The GPUs of a workstation, shared by jobs that know nothing of each other: a GPU is its holder's of a file lock.

Snakemake's resource `gpu` says how many jobs run at once, not which GPU is whose, and CUDA gives every job the first.
The kernel drops the locks of a process however it ends, so a crashed job leaves nothing to clean up. Imports nothing
heavy: CUDA reads which GPUs it may show when torch is loaded, so a lease comes first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from prunebench.errors import PrunebenchError

DEVICES = Path("/dev")


GPUS_PER_JOB = 1
"""What a stage that runs the model can use."""


USABLE = 0.9
"""The part of a card's free memory that the weights of a whole model may take; the rest is for what a batch needs."""


def gpus_here() -> int:
    """GPUs of this machine."""
    return sum(1 for _ in DEVICES.glob("nvidia[0-9]*"))


def gpus_per_job(*, elsewhere: bool) -> int:
    """GPUs that a job which runs the model asks for; `elsewhere`: on machines of a scheduler, which are not this one.

    On a CPU-only machine 0: with the limit of one GPU that profiles/default sets, jobs would run one by one.
    """
    return GPUS_PER_JOB if elsewhere or gpus_here() else 0


def gpus_given() -> int:
    """The same for a job of a scheduler that looks at itself: a step that asks for a GPU its job lacks is refused."""
    return GPUS_PER_JOB if os.environ.get("CUDA_VISIBLE_DEVICES") else 0


log = logging.getLogger("prunebench")

LOCKS = Path("/tmp")
"""Where the lock files are: the same place for all users and projects of a machine, whatever their TMPDIR."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID")
"""Set in jobs of SLURM, PBS, LSF and Grid Engine, which give out GPUs themselves."""
SHORTEST_WAIT, LONGEST_WAIT = 0.001, 0.5
"""Seconds between looks for a free GPU; twice as long after each."""

_for_life = ExitStack()


def take_gpus(count: int = GPUS_PER_JOB) -> tuple[int, ...]:
    """Make `count` GPUs this process's own until it ends, and the only ones that CUDA shows it; waits for free ones.

    Returns their numbers. Takes none, and changes nothing, where somebody else decides (a scheduler, or a
    CUDA_VISIBLE_DEVICES that is set) and on a machine without GPUs. PrunebenchError if the machine has fewer.
    """
    devices = range(gpus_here())
    if not count or not devices or VISIBLE in os.environ or any(name in os.environ for name in SCHEDULERS):
        return ()
    taken = _for_life.enter_context(held(count, devices, LOCKS))
    # Numbered as nvidia-smi does, for all jobs alike: CUDA's own order is another one.
    os.environ |= {VISIBLE: ",".join(map(str, taken)), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    log.info("on GPU %s", os.environ[VISIBLE])
    return taken


@contextmanager
def held(count: int, devices: Sequence[int], locks: Path) -> Iterator[tuple[int, ...]]:
    """Hold `count` of `devices`, by locks in the directory `locks`; waits until so many are free. Gives their numbers.

    Whoever waits has a lock of its own, the gate, and the others queue for that: two jobs that want two GPUs each
    never hold one each and wait for the other, and one that wants many is not passed by those that want few.
    """
    if count > len(devices):
        raise PrunebenchError(
            f"this job wants {count} GPUs, the machine has {len(devices)}: run it where there are more"
        )
    with ExitStack() as stack:
        with ExitStack() as queue:
            gate = _open(locks / "prunebench-gpus.lock", queue)
            if not _lock(gate):
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
            if len(taken) < count and device not in taken and _lock(files[device]):
                taken.append(device)
        if len(taken) == count:
            return tuple(sorted(taken))
        if wait == SHORTEST_WAIT:
            log.info("waiting for a GPU: other jobs have %d of %d", len(devices) - len(taken), len(devices))
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _open(file: Path, stack: ExitStack) -> int:
    """A descriptor of `file`, which may be another user's, for as long as `stack` lasts."""
    with suppress(FileExistsError, PermissionError):
        created = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL)
        os.fchmod(created, 0o666)
        os.close(created)
    descriptor = _opened(file)
    stack.callback(os.close, descriptor)
    with suppress(PermissionError):
        os.utime(descriptor)  # what looks old may be deleted by those who tidy up /tmp, and with it the lock's name
    return descriptor


def _opened(file: Path) -> int:
    """The same; another user who is creating it may not have opened it to all yet."""
    for _ in range(100):
        with suppress(PermissionError):
            return os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        time.sleep(0.01)
    raise PrunebenchError(f"{file} cannot be read: its owner, or root, has to delete it or to `chmod a+r` it")


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
