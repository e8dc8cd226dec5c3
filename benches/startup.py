"""The cost of a job before its work begins: Snakemake until it has read the Snakefile, and each rule's imports.

python -m benches.startup, in the repository, prints a table. Seconds are the least of several runs, since noise only
adds; on a busy machine, CPU seconds say more.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from tabulate import tabulate

from prunebench.plan import paths
from prunebench.plan.jobs import rules

RUNS = 5
PARSE = ("-m", "snakemake", paths.MODEL.format(model="smollm2_135m"), "--dry-run", "--cores", "1", "--quiet", "all")
RULES = tuple(rule for rule in rules() if rule != "strict")


def cost(*command: str) -> tuple[float, float]:
    """Run Python once with these arguments; returns (seconds, CPU seconds)."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": "workflow", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def least(*command: str) -> tuple[float, float]:
    """Run Python several times with these arguments; returns the least (seconds, CPU seconds)."""
    cost(*command)  # the first reads files that are not in memory yet
    seconds, cpu = zip(*(cost(*command) for _ in range(RUNS)), strict=True)
    return min(seconds), min(cpu)


def main() -> None:
    """Measure all commands, and print a row for each, the slowest last."""
    rows = {"Snakemake and the Snakefile (twice per job on SLURM)": least(*PARSE)}
    for rule in RULES:
        rows[f"imports of {rule}"] = least("-c", f"import prunebench.runtime.script, prunebench.stages.{rule}")
    table = [[what, *of] for what, of in sorted(rows.items(), key=lambda row: row[1][1])]
    print(tabulate(table, headers=["", "seconds", "CPU seconds"], tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
