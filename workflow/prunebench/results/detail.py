"""The details of a plan's current results, block by block: the only way from results to figures and report."""

import statistics
import sys
from array import array
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prunebench.cell import Cell
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.results.current import Results, remembered
from prunebench.storage.sealed import read_if_whole, read_record


class Records(Results):
    """The results of `plan` with their details, each read and checked once, in a form of which thousands fit in memory.

    A result that is not current counts as missing.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, remembered(condensed))
        self._checked: dict[Job, dict[str, Any]] = {}
        self.cost = remembered(measurement)
        self.blocks = cache(self._blocks)
        self.epochs = cache(self._epochs)

    def valid(self, job: Job) -> dict[str, Any]:
        """Read the result of `job`; see `Results.valid`. `condensed` says in what form."""
        if job not in self._checked:
            self._checked[job] = super().valid(job)
        return self._checked[job]

    def measured(self, cell: Cell, suite: str | None = None) -> dict[str, Any] | None:
        """Read what pruning `cell`, or evaluating `suite` on it, cost and ran on; None without a current result."""
        result = self.evaluation(cell, suite) if suite else self.prune(cell)
        job = self._plan.job("evaluate" if suite else "prune", **cell.wildcards, suite=suite)
        path = Path(job.output("measured").path)
        return self.cost(path) if result["status"] != "missing" and path.exists() else None

    def promised(self, cell: Cell) -> float | None:
        """Read the perplexity in the search that found the allocation of `cell`; None without a current search."""
        if self.prune(cell)["status"] != "ok":
            return None
        candidate = self._read(self._plan.allocation(cell).outputs[0]).get("found")
        return float(candidate["value"]) if candidate else None

    def _blocks(self, cell: Cell) -> list[dict[str, float]]:
        """Summarise each block of `cell` (see `summary`); the list is empty without a current result."""
        record = self.prune(cell)
        if record["status"] != "ok":
            return []
        shares = self._read(self._plan.allocation(cell).outputs[0])["sparsities"]
        return [
            {"block": index, "share": share(block["weights"], shares), **block["facts"]}
            for index, block in enumerate(record["blocks"])
        ]

    def _epochs(self, cell: Cell) -> list[dict[str, float]]:
        """List the losses of each epoch in each block of `cell`, if its method works in epochs (see `losses`)."""
        return losses(self.prune(cell).get("blocks", []))


def condensed(path: Path) -> dict[str, Any]:
    """Read a result. Each of its blocks has `facts` and the `weights` of each linear in place of all that is known of
    its linears, and losses of windows are an array."""
    record = read_record(path)
    for block in record.get("blocks", ()):
        linears = block.pop("linears")
        block["facts"] = facts(linears)
        block["weights"] = _sizes(tuple((name, linear["weights"]) for name, linear in linears.items()))
    for score in record.get("scores", ()):
        if "window_losses" in score["details"]:
            score["details"]["window_losses"] = array("d", score["details"]["window_losses"])
    return record


@cache
def _sizes(sizes: tuple[tuple[str, int], ...]) -> Mapping[str, int]:
    """Make a dict of `sizes`, the same object for all cells of a model."""
    return dict(sizes)


def measurement(path: Path) -> dict[str, Any] | None:
    """Read what a job cost and ran on; None if the file is damaged.

    Words that thousands of jobs share are one object, and the command is a text.
    """
    record = read_if_whole(path)
    if record is None:
        return None
    record = {key: sys.intern(value) if isinstance(value, str) else value for key, value in record.items()}
    return {**record, "versions": _versions(tuple(record["versions"].items())), "command": " ".join(record["command"])}


@cache
def _versions(versions: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Make a dict of `versions`, the same object for all jobs with the same libraries."""
    return dict(versions)


def share(weights: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Compute the fraction of zeros that a block was given, from the size of its linears and the `shares` of zeros."""
    return sum(shares[name] * size for name, size in weights.items()) / sum(weights.values())


def facts(linears: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Summarise one block from the record of its linears.

    `zeros` is the fraction of zeros that the block has. If the method looks at text, there are reconstruction errors of
    the linears: the median (`error`), `low` and `high`.
    """
    total = sum(linear["weights"] for linear in linears.values())
    block = {"zeros": sum(linear["zeros"] for linear in linears.values()) / total}
    errors = [linear["reconstruction_error"] for linear in linears.values() if "reconstruction_error" in linear]
    if errors:
        block |= {"low": min(errors), "error": statistics.median(errors), "high": max(errors)}
    return block


def losses(blocks: list[dict[str, Any]]) -> list[dict[str, float]]:
    """List for each block (from 0 on) and epoch (from 1 on) the training `loss` and the `reconstruction` loss.

    The training loss is the sum of its terms. `kept` is the epoch whose weights the block has. Blocks that were not
    pruned have no epochs.
    """
    return [
        {
            "block": index,
            "epoch": number,
            "loss": sum(epoch["terms"].values()),
            "reconstruction": epoch["reconstruction"],
            "kept": block["kept"],
        }
        for index, block in enumerate(blocks)
        for number, epoch in enumerate(block.get("epochs", ()), start=1)
    ]
