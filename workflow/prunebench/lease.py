"""The GPUs of a workstation, shared by jobs that know nothing of each other: a GPU is its holder's of a file lock.

Snakemake's resource `gpu` says how many jobs run at once, not which GPU is whose, and CUDA gives every job the first.
The kernel drops the locks of a process however it ends, so a crashed job leaves nothing to clean up. Imports nothing
heavy: CUDA reads which GPUs it may show when torch is loaded, so a lease comes first.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.resources import GPUS_PER_JOB, gpus_here

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
