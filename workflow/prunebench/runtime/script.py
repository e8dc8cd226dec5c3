"""What every script of a rule does first and last: arguments, threads, logging, and how errors leave.

Imports nothing heavy: thread counts must be in the environment before numpy and torch are loaded.
"""

import argparse
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
from typing import Any

from prunebench.errors import PrunebenchError

log = logging.getLogger("prunebench")

THREAD_VARIABLES = tuple(f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"))


def run(description: str | None, body: Callable[[argparse.Namespace], str | None], **options: Any) -> None:
    """Parse `options` (name -> type) as required command-line options, run `body`, print what it returns.

    A type of Path makes the option a path; a tuple (type, default) makes it, or its value, optional; (Path, ...) takes
    any number. `--threads` is always there. The log (stderr) starts with the command that repeats this job. A
    PrunebenchError ends the process with exit code 1 and its message alone; anything else with its traceback.
    """
    arguments = _parse(description, options)
    _show_life()
    set_environment(arguments.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    command = shlex.join([sys.executable, *sys.argv])
    print(f"PYTHONPATH={shlex.quote(str(Path(__file__).parents[2]))} {command}", file=sys.stderr, flush=True)
    try:
        _check_threads(arguments)
        outcome = body(arguments)
    except PrunebenchError as error:
        sys.exit(f"error: {error}")
    if outcome:
        log.info(outcome)
        print(outcome, flush=True)


def _parse(description: str | None, options: dict[str, Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    for name, kind in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(kind, tuple) and kind[1] is ...:
            parser.add_argument(flag, type=kind[0], nargs="*", default=[])
        elif isinstance(kind, tuple):
            parser.add_argument(flag, type=kind[0], nargs="?", default=kind[1])
        else:
            parser.add_argument(flag, type=kind, required=True)
    return parser.parse_args()


def _show_life() -> None:
    """Lock the log file, if stderr is one, until this process ends: it tells `prunebench status` that the job runs."""
    with contextlib.suppress(OSError):  # not every file system has locks
        if stat.S_ISREG(os.fstat(2).st_mode):
            for _ in range(10):  # a process that checks the lock holds it for an instant
                with contextlib.suppress(BlockingIOError):
                    return fcntl.flock(2, fcntl.LOCK_EX | fcntl.LOCK_NB)
                time.sleep(0.001)


def _check_threads(arguments: argparse.Namespace) -> None:
    """Snakemake lowers a rule's threads to `--cores` without a word, and the thread count moves numbers."""
    compute = json.loads(getattr(arguments, "spec", "{}")).get("compute")
    if compute and compute["threads"] != arguments.threads:
        raise PrunebenchError(
            f"the config says threads: {compute['threads']}, but this job was given {arguments.threads}. "
            f"Run snakemake with --cores {compute['threads']} or more, or change compute.threads in the config."
        )


def set_environment(threads: int) -> None:
    """Set the variables that libraries read at import: thread counts, and whether they may draw progress bars.

    Two jobs with default threads on two cores would be very slow, so every library gets the threads of the rule.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
