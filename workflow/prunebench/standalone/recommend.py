"""Recommends the best method in our own table to users who name none."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import dataclass

from prunebench.models.base import FeedForward
from prunebench.patterns import parse_pattern, sparsity_text
from prunebench.standalone.request import PROJECT, check_amount, method_named

TABLE = PROJECT / "config/recommended.csv"
"""The rows of results/cells.csv of the study `recommended`, which measures on text that no published table uses."""


@dataclass(frozen=True)
class Recommendation:
    """A method and an allocator, and the reason for them."""

    method: str
    allocator: str
    why: str


def recommend(pattern: str, sparsity: float | str | None, ffn: FeedForward) -> Recommendation:
    """Name the method and allocator of lowest perplexity (geometric mean over texts) at the nearest measured sparsity.

    Methods that cannot prune models with the FFN layout `ffn` are left out. Raises PrunebenchError for a wrong pattern
    or sparsity.
    """
    check_amount(pattern, sparsity)
    structured = parse_pattern(pattern).structured
    with TABLE.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["pattern"] != "unstructured") == structured]
    points = {(row["pattern"], row["sparsity"]) for row in rows}
    if structured:
        nearest = min(points, key=lambda point: (point[0] != pattern, point))
    else:
        target = float(sparsity_text(sparsity))
        # If two are equally near, the higher sparsity counts.
        nearest = min(points, key=lambda point: (round(abs(float(point[1]) - target), 4), -float(point[1])))
    logs = defaultdict(list)
    for row in rows:
        if (row["pattern"], row["sparsity"]) == nearest and method_named(row["method"]).reads(ffn).ok:
            logs[row["method"], row["allocator"]].append(math.log(float(row["value"])))
    ranked = sorted(logs, key=lambda choice: math.fsum(logs[choice]) / len(logs[choice]))
    shown = [f"{method} with {allocator} {_mean(logs[method, allocator]):.1f}" for method, allocator in ranked[:3]]
    amount = nearest[0] if structured else f"{float(nearest[1]):.0%}"
    method, allocator = ranked[0]
    why = f"lowest perplexity at {amount} on our tuning text, on {rows[0]['model']}: {', '.join(shown)}"
    return Recommendation(method, allocator, why)


def _mean(logs: list[float]) -> float:
    return math.exp(math.fsum(logs) / len(logs))
