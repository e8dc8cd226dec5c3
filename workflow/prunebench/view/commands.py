"""The command lines of snakemake for parts of a plan."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from prunebench.config.schema import CONFIG
from prunebench.plan.plan import Plan


def snakemake(plan: Plan, targets: Iterable[Path], *, cores: str = "all", more: Sequence[str] = ()) -> list[str]:
    """The words of the command that makes `targets`."""
    config = [] if Path(plan.file) == CONFIG else ["--configfile", plan.file]
    # Targets before --configfile, which would swallow them.
    return ["snakemake", *map(str, targets), "--cores", cores, *more, *config]


def run(command: Sequence[str]) -> int:
    """Run `command` to its end and return its exit code. After Ctrl-C it may tidy up before KeyboardInterrupt comes."""
    interrupted = None
    with subprocess.Popen(command) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt as interrupt:  # the child got it too
                interrupted = interrupt
    if interrupted:
        raise interrupted
    return process.returncode
