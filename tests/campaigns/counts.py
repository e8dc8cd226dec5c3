"""What all campaigns share: how their tries are counted, and which files of two trees have to be equal."""

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from dag.tree import STUDY, Tree

OUTCOMES = ("recovered", "refused", "wrong")
TIMED = {"cells.csv", "cells.csv.sha256", "tables", "figures", "report"}
"""Files and folders that show times."""
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
    """The files of results/ that do not depend on when and how fast they were made, with their bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / "results").rglob("*"))
        if path.is_file() and "measured" not in path.name and not TIMED & set(path.parts)
    }


def small(root: Path) -> Tree:
    """A tree with a study of two cells, nothing of it made."""
    tree = Tree.create(root)
    tree.add_inputs()
    tree.edit(STUDY, "      - {model: broken, method: magnitude, sparsity: 0.5}\n", "")
    tree.edit(STUDY, "      - {model: tiny, method: wanda, pattern: 2of4}\n", "")
    tree.edit(STUDY, "[magnitude, wanda]", "wanda")
    return tree


def differences(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """The names of files that are not in both or are not equal."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
