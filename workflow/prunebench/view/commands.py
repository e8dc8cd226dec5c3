"""Makes and runs command lines of snakemake for parts of a plan."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from prunebench.config.packaged import resource
from prunebench.config.schema import CONFIG
from prunebench.plan.plan import Plan


def snakemake(plan: Plan, targets: Iterable[Path], *, cores: str = "all", more: Sequence[str] = ()) -> list[str]:
    """The words of the snakemake command that makes the files `targets`, with `more` options."""
    config = [] if Path(plan.file) == CONFIG else ["--configfile", str(resource(plan.file))]
    # Targets stand before --configfile, which would take them for further config files.
    return ["snakemake", *map(str, targets), "--cores", cores, *more, *config]


def run(command: Sequence[str]) -> int:
    """Run `command` and return its exit code. After Ctrl-C it may end in order before KeyboardInterrupt is raised."""
    interrupted = None
    with subprocess.Popen(command) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt as interrupt:  # the command has received it as well
                interrupted = interrupt
    if interrupted:
        raise interrupted
    return process.returncode
