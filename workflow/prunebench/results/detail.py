"""The details of a plan's current results, block by block: the only way from results to figures and report."""

import statistics
from functools import cache
from pathlib import Path
from typing import Any

from prunebench.cell import Cell
from prunebench.plan.plan import Plan
from prunebench.results.current import Results, remembered
from prunebench.storage.sealed import read_if_whole, read_record


class Records(Results):
    """The results of `plan` with all details, each read once. A result that is not current counts as missing."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, remembered(read_record))
        self.blocks = cache(self._blocks)
        self.epochs = cache(self._epochs)

    def measured(self, cell: Cell, suite: str | None = None) -> dict[str, Any] | None:
        """Read what pruning `cell`, or evaluating `suite` on it, cost and ran on; None without a current result."""
        result = self.evaluation(cell, suite) if suite else self.prune(cell)
        job = self._plan.job("evaluate" if suite else "prune", **cell.wildcards, suite=suite)
        path = Path(job.output("measured").path)
        return read_if_whole(path) if result["status"] != "missing" else None

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
        return [{"block": index, **summary(block["linears"], shares)} for index, block in enumerate(record["blocks"])]

    def _epochs(self, cell: Cell) -> list[dict[str, float]]:
        """List the losses of each epoch in each block of `cell`, if its method works in epochs (see `losses`)."""
        return losses(self.prune(cell).get("blocks", []))


def summary(linears: dict[str, dict[str, Any]], shares: dict[str, float]) -> dict[str, float]:
    """Summarise one block from the record of its linears and the `shares` of zeros they were given.

    `share` is the fraction of zeros that the block was given, `zeros` the fraction that it has. If the method looks at
    text, there are reconstruction errors of the linears: the median (`error`), `low` and `high`.
    """
    total = sum(linear["weights"] for linear in linears.values())
    block = {
        "share": sum(shares[name] * linear["weights"] for name, linear in linears.items()) / total,
        "zeros": sum(linear["zeros"] for linear in linears.values()) / total,
    }
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
