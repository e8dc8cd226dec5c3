"""SIGTERM and SIGINT, once and twice, at random times. No process stays; the next run has identical results."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import psutil

from campaigns.counts import Try, differences, main, processes, results, undisturbed
from dag.tree import STUDY, Tree

VICTIMS = {"job": "prunebench.stages", "snakemake": "snakemake", "group": ""}
"""The words of the commands that get the signal."""
PATIENCE = 120.0
PAUSE = 0.5


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Send signals to `tries` runs, and run again."""
    with undisturbed("signals") as study:
        for number in range(tries):
            victim, after = random.choice(list(VICTIMS)), random.uniform(0, study.seconds)
            sent, times = random.choice([signal.SIGTERM, signal.SIGINT]), random.choice([1, 2])
            with TemporaryDirectory(prefix="try-") as place:
                tree = study.fresh.copy(Path(place) / "tree")
                outcome, words = _outcome(tree, study.results, victim, after, [sent] * times)
            yield outcome, f"try {number}, {sent.name} x {times} to {victim} after {after:.2f} s: {words}"


def _outcome(tree: Tree, before: dict[str, bytes], victim: str, after: float, sent: list[signal.Signals]) -> Try:
    process = tree.start("python", "-m", "snakemake", "collect", "--cores", "2", "--configfile", STUDY)
    for number, pause in zip(sent, [after, PAUSE], strict=False):
        time.sleep(pause)
        for entry in processes(tree.root):
            with suppress(psutil.Error):
                if VICTIMS[victim] in " ".join(entry.cmdline()):
                    entry.send_signal(number)
    try:
        log = process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        return "wrong", "no end"
    time.sleep(PAUSE)
    if left := [" ".join(entry.cmdline()) for entry in processes(tree.root)]:
        return "wrong", f"processes are left: {left}"
    again = tree.snakemake("collect")
    different = differences(before, results(tree.root))
    if again.returncode or different:
        return "wrong", f"exit code {again.returncode}, different: {different}\n{log}\n{again.stdout}"
    return "recovered", ""


if __name__ == "__main__":
    main("signals", campaign, 50)
