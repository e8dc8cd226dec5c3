"""SIGKILL at random times: of a job, of snakemake, of both. The next plain run finishes with identical results."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import psutil

from campaigns.counts import Try, differences, main, processes, results, undisturbed
from dag.tree import STUDY, Tree

VICTIMS = ("job", "snakemake", "group")
PATIENCE = 300.0


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Kill `tries` runs, each at a random time, and run again."""
    with undisturbed("kills") as study:
        for number in range(tries):
            victim, after = random.choice(VICTIMS), random.uniform(0, study.seconds)
            with TemporaryDirectory(prefix="try-") as place:
                tree = study.fresh.copy(Path(place) / "tree")
                log = _kill(tree, victim, after)
                run = tree.snakemake("collect")
                different = differences(study.results, results(tree.root))
            words = f"try {number}, {victim} killed after {after:.2f} of {study.seconds:.2f} s"
            if run.returncode or different:
                yield "wrong", f"{words}: exit code {run.returncode}, different: {different}\n{log}\n{run.stdout}"
            else:
                yield "recovered", words


def _kill(tree: Tree, victim: str, after: float) -> str:
    """Run snakemake, kill `victim` after `after` seconds, and return what snakemake printed."""
    process = tree.start("python", "-m", "snakemake", "collect", "--cores", "2", "--configfile", STUDY)
    time.sleep(after)
    group = processes(tree.root)
    # The clients of warm.py have the words of a command, and take what runs it with them.
    jobs = [entry for entry in group if "prunebench.stages" in _words(entry)]
    snakemakes = [entry for entry in group if "snakemake" in _words(entry)]
    chosen = {"job": jobs[:1], "snakemake": snakemakes, "group": group}[victim]
    for entry in chosen:
        with suppress(psutil.NoSuchProcess):
            os.kill(entry.pid, signal.SIGKILL)
    with suppress(Exception):
        return process.communicate(timeout=PATIENCE)[0]
    return "no end"


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


if __name__ == "__main__":
    main("kills", campaign, 100)
