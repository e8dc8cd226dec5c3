"""The beginning and the end of every job: its lock, threads, logging, and how errors leave it.

Imports nothing heavy: thread counts must be in the environment before numpy and torch are loaded.
"""

import contextlib
import fcntl
import json
import logging
import os
import shlex
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prunebench.errors import PrunebenchError, disk_errors_told

log = logging.getLogger("prunebench")

ERASE = "\r\033[K"
"""Makes a terminal erase the line of the cursor, where a run shows how far it is (see `estimate.terminal`)."""
THREAD_VARIABLES = tuple(f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"))
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Makes torch ask Linux for huge pages under tensors of 2 MiB and more. Pages come into being when they are first
written, so torch is interrupted less than half as often, and the system's share of a job falls. No number changes."""


def run(body: Callable[[], str | None], *, threads: int = 1, spec: str = "{}", label: str | None = None) -> None:
    """Run `body` as a job with `threads` CPU threads; log the line that it returns, print it after `label`.

    The log (stderr) starts with the command that repeats this job. A PrunebenchError ends the process with exit code 1
    and its message alone; anything else with its traceback. So does a thread count that is not the one of `spec`.
    """
    _show_life()
    set_environment(_threads(spec, threads))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    package = shlex.quote(str(Path(__file__).parents[2]))
    command = shlex.join([sys.executable, "-m", "prunebench.stages", *sys.argv[1:]])
    print(f"PYTHONPATH={package} {command}", file=sys.stderr, flush=True)
    try:
        _check_threads(spec, threads)
        with disk_errors_told():
            outcome = body()
    except PrunebenchError as error:
        sys.exit(f"error: {error}")
    if outcome:
        log.info(outcome)
    if outcome and label:
        print(f"{ERASE if sys.stdout.isatty() else ''}{label}: {outcome}", flush=True)


def _show_life() -> None:
    """Lock the log file, if stderr is one, until this process ends: it tells `prunebench status` that the job runs."""
    with contextlib.suppress(OSError):  # not every file system has locks
        if stat.S_ISREG(os.fstat(2).st_mode):
            for _ in range(10):  # a process that checks the lock holds it for an instant
                with contextlib.suppress(BlockingIOError):
                    return fcntl.flock(2, fcntl.LOCK_EX | fcntl.LOCK_NB)
                time.sleep(0.001)


def _threads(spec: str, threads: int) -> int:
    """The threads that a job computes with: those of its spec, if it has any. A job that is alone is given more."""
    compute = json.loads(spec).get("compute")
    return min(threads, int(compute["threads"])) if compute else threads


def _check_threads(spec: str, threads: int) -> None:
    """Snakemake lowers a rule's threads to `--cores` without a word, and the thread count moves numbers."""
    compute = json.loads(spec).get("compute")
    if compute and compute["threads"] > threads:
        raise PrunebenchError(
            f"the config says threads: {compute['threads']}, but this job was given {threads}. "
            f"Run snakemake with --cores {compute['threads']} or more, or change compute.threads in the config."
        )


def set_environment(threads: int) -> None:
    """Set the variables that libraries read when they start: threads, pages of memory, and progress bars.

    Two jobs with default threads on two cores would be very slow, so every library gets the threads of the rule. A user
    may set all others differently.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ.setdefault(HUGE_PAGES, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
