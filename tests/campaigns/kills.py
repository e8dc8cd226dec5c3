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

from campaigns.counts import Try, differences, main, results, small
from dag.tree import STUDY, Tree

VICTIMS = ("job", "snakemake", "group")
PATIENCE = 300.0


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Kill `tries` runs, each at a random time, and run again."""
    with TemporaryDirectory(prefix="kills-") as folder:
        fresh = small(Path(folder) / "fresh")
        whole = fresh.copy(Path(folder) / "whole")
        start = time.monotonic()
        run = whole.snakemake("collect")
        assert run.returncode == 0, run.stdout
        seconds = time.monotonic() - start
        for number in range(tries):
            victim, after = random.choice(VICTIMS), random.uniform(0, seconds)
            with TemporaryDirectory(prefix="try-", dir=folder) as place:
                tree = fresh.copy(Path(place) / "tree")
                log = _kill(tree, victim, after)
                run = tree.snakemake("collect")
                different = differences(results(whole.root), results(tree.root))
            words = f"try {number}, {victim} killed after {after:.2f} of {seconds:.2f} s"
            if run.returncode or different:
                yield "wrong", f"{words}: exit code {run.returncode}, different: {different}\n{log}\n{run.stdout}"
            else:
                yield "recovered", words


def _kill(tree: Tree, victim: str, after: float) -> str:
    """Run snakemake, kill `victim` after `after` seconds, and return what snakemake printed."""
    process = tree.start("python", "-m", "snakemake", "collect", "--cores", "2", "--configfile", STUDY)
    time.sleep(after)
    here = [entry for entry in psutil.process_iter() if _works_in(entry, tree.root)]
    # The clients of warm.py have the words of a command, and take what runs it with them.
    jobs = [entry for entry in here if "prunebench.stages" in _words(entry)]
    snakemakes = [entry for entry in here if "snakemake" in _words(entry)]
    chosen = {"job": jobs[:1], "snakemake": snakemakes, "group": here}[victim]
    for entry in chosen:
        with suppress(psutil.NoSuchProcess):
            os.kill(entry.pid, signal.SIGKILL)
    with suppress(Exception):
        return process.communicate(timeout=PATIENCE)[0]
    return "no end"


def _works_in(process: psutil.Process, root: Path) -> bool:
    try:
        return Path(process.cwd()) == root
    except psutil.Error:
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


if __name__ == "__main__":
    main("kills", campaign, 100)
