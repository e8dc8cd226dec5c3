"""Modification times in the past and the future. The next run has identical results, and the one after no work."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from campaigns.counts import Try, differences, main, results, undisturbed

SHIFTS = (-86400 * 365, -3600, 3600, 86400 * 365)
"""Seconds from now."""


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Give a random part of the files of `tries` finished trees another time."""
    with undisturbed("clocks") as study:
        for number in range(tries):
            with TemporaryDirectory(prefix="try-") as place:
                tree = study.whole.copy(Path(place) / "tree")
                part, shift = random.random(), random.choice(SHIFTS)
                for top in ("resources", "results", "assets"):
                    for path in sorted((tree.root / top).rglob("*")):
                        if random.random() < part:
                            os.utime(path, (time.time() + shift,) * 2)
                run = tree.snakemake("collect")
                different = differences(study.results, results(tree.root))
                again = tree.snakemake("collect")
            words = f"try {number}, {part:.0%} of the files {shift} s from now"
            if run.returncode or different:
                yield "wrong", f"{words}: exit code {run.returncode}, different: {different}\n{run.stdout}"
            elif "Nothing to be done" not in again.stdout:
                yield "wrong", f"{words}: the next run has work again\n{again.stdout}"
            else:
                yield "recovered", words


if __name__ == "__main__":
    main("clocks", campaign, 30)
