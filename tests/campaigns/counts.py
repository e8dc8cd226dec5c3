"""The parts that all campaigns share: counts of tries, the small study, and the files that have to be equal."""

import argparse
import csv
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import psutil

from dag.tree import STUDY, Tree

OUTCOMES = ("recovered", "refused", "wrong")
TIMED = {"cells.csv.sha256", "index.html", "tables", "figures", "report"}
"""Files and folders that show times."""
CELLS = "results/of/tiny/cells.csv"
COSTS = {"prune_seconds", "prune_cpu_seconds", "peak_memory_mb"}
"""The columns of CELLS that show times and memory."""
Try = tuple[str, str]
"""One of OUTCOMES, and in words what was tried and what came of it."""


def counted(name: str, tries: Iterator[Try]) -> int:
    """Print each wrong try and one line of counts; the number of wrong tries."""
    counts: Counter[str] = Counter()
    try:
        for outcome, words in tries:
            assert outcome in OUTCOMES
            counts[outcome] += 1
            if outcome == "wrong":
                print(f"{name}: wrong: {words}", flush=True)
    finally:  # also of a campaign that is interrupted
        print(
            f"{name}: {counts.total()} tried, {counts['recovered']} recovered with identical results, "
            f"{counts['refused']} refused clearly, {counts['wrong']} wrong",
            flush=True,
        )
    return counts["wrong"]


def main(name: str, campaign: Callable[[Random, int], Iterator[Try]], tries: int) -> None:
    """Run a campaign from the command line; the exit code is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.campaigns.{name}")
    parser.add_argument("--tries", type=int, default=tries)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the counts of a part are printed
    sys.exit(counted(name, campaign(Random(options.seed), options.tries)) > 0)


def results(root: Path) -> dict[str, bytes]:
    """The files of results/ that do not depend on when and how fast they were made, with their bytes.

    Of the table of all cells the columns that show times and memory are left out.
    """
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / "results").rglob("*"))
        if path.is_file() and "measured" not in path.name and not TIMED & set(path.parts)
    }
    return files | ({CELLS: _without_costs(root / CELLS)} if CELLS in files else {})


def _without_costs(cells: Path) -> bytes:
    with cells.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = [{key: row[key] for key in row if key not in COSTS} for row in csv.DictReader(lines)]
    return repr(rows).encode()


def small(root: Path) -> Tree:
    """A tree with a study of two cells, nothing of it made."""
    tree = Tree.create(root)
    tree.add_inputs()
    tree.edit(STUDY, "      - {model: broken, method: magnitude, sparsity: 0.5}\n", "")
    tree.edit(STUDY, "      - {model: tiny, method: wanda, pattern: 2of4}\n", "")
    tree.edit(STUDY, "[magnitude, wanda]", "wanda")
    return tree


@dataclass(frozen=True)
class Undisturbed:
    """The small study before and after a run that nothing disturbs."""

    fresh: Tree
    whole: Tree
    seconds: float
    """The wall time of the run."""

    @cached_property
    def results(self) -> dict[str, bytes]:
        """The files that every recovered tree must have."""
        return results(self.whole.root)


@contextmanager
def undisturbed(name: str, make: Callable[[Path], Tree] = small, target: str = "collect") -> Iterator[Undisturbed]:
    """Run the study that `make` makes in a temporary folder, which goes when the context ends."""
    with TemporaryDirectory(prefix=f"{name}-") as folder:
        fresh = make(Path(folder) / "fresh")
        whole = fresh.copy(Path(folder) / "whole")
        start = time.monotonic()
        run = whole.snakemake(target)
        assert run.returncode == 0, run.stdout
        yield Undisturbed(fresh, whole, time.monotonic() - start)


def processes(root: Path) -> list[psutil.Process]:
    """The processes that work in the directory `root`."""
    return [entry for entry in psutil.process_iter(["cwd"]) if entry.info["cwd"] == str(root)]


def differences(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """The names of files that are not in both or are not equal."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
