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
IN_A_ROW = 4
"""The greatest number of runs of one tree that are killed, one after the other."""
PATIENCE = 300.0


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Kill `tries` runs at random times, a few in one tree before a run may end."""
    with undisturbed("kills") as study:
        killed = 0
        while killed < tries:
            with TemporaryDirectory(prefix="try-") as place:
                tree = study.fresh.copy(Path(place) / "tree")
                kills, log = _kills(tree, random, min(IN_A_ROW, tries - killed), study.seconds)
                run = tree.snakemake("collect")
                different = differences(study.results, results(tree.root))
            killed += len(kills)
            for kill in kills:
                if run.returncode or different:
                    yield "wrong", f"{kill}: exit code {run.returncode}, different: {different}\n{log}\n{run.stdout}"
                else:
                    yield "recovered", kill


def _kills(tree: Tree, random: Random, most: int, seconds: float) -> tuple[list[str], str]:
    """Kill up to `most` runs, until one ends first; return a line for each kill, and what the runs printed."""
    kills, logs = [], []
    for _ in range(most):
        victim, after = random.choice(VICTIMS), random.uniform(0, seconds)
        struck, log = _kill(tree, victim, after)
        logs.append(log)
        if not struck:
            break
        kills.append(f"{victim} killed after {after:.2f} of {seconds:.2f} s")
    return kills, "\n".join(logs)


def _kill(tree: Tree, victim: str, after: float) -> tuple[bool, str]:
    """Run snakemake, kill `victim` once it is there after `after` seconds; whether it was, and what was printed."""
    process = tree.start("python", "-m", "snakemake", "collect", "--cores", "2", "--configfile", STUDY)
    time.sleep(after)
    chosen: list[psutil.Process] = []
    while not chosen and process.poll() is None:
        group = processes(tree.root)
        # The clients of warm.py have the words of a command, and take what runs it with them.
        jobs = [entry for entry in group if "prunebench.stages" in _words(entry)]
        snakemakes = [entry for entry in group if "snakemake" in _words(entry)]
        chosen = {"job": jobs[:1], "snakemake": snakemakes, "group": group}[victim]
    for entry in chosen:
        with suppress(ProcessLookupError):
            os.kill(entry.pid, signal.SIGKILL)
    with suppress(Exception):
        return bool(chosen), process.communicate(timeout=PATIENCE)[0]
    return bool(chosen), "no end"


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


if __name__ == "__main__":
    main("kills", campaign, 100)
