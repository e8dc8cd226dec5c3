"""Builds and runs the snakemake commands that make parts of a plan."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from prunebench.config.schema import CONFIG
from prunebench.plan.plan import Plan


def snakemake(plan: Plan, targets: Iterable[Path], *, cores: str = "all", more: Sequence[str] = ()) -> list[str]:
    """The words of the snakemake command that makes the files `targets`, with `more` options."""
    config = [] if Path(plan.file) == CONFIG else ["--configfile", plan.file]
    # The targets stand before --configfile, which would take them for more config files.
    return ["snakemake", *map(str, targets), "--cores", cores, *more, *config]


def run(command: Sequence[str]) -> int:
    """Run `command` and return its exit code. After Ctrl-C, wait for its end and then raise KeyboardInterrupt."""
    interrupted = None
    with subprocess.Popen(command) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt as interrupt:  # the command has received the signal too
                interrupted = interrupt
    if interrupted:
        raise interrupted
    return process.returncode
