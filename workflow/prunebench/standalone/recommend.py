"""Recommends a method to users who name none: the best in our own table that does not take long."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prunebench.config.packaged import resource
from prunebench.models.base import FeedForward
from prunebench.patterns import parse_pattern, sparsity_text
from prunebench.runtime.digits import duration
from prunebench.standalone.request import check_amount, method_named

TABLE = "config/recommended.csv"
"""The rows of results/cells.csv of the study `recommended`, which measures on text that no published table uses."""


QUICK = 600.0
"""The seconds within which a pruning is expected to end if a user leaves the choice of the method to us."""
PATIENCE = 1.5
"""Where nothing ends so soon, the methods count that take at most so many times the time of the fastest of them."""
SHOWN = 3
"""The greatest number of methods of a kind that a reason names."""
UNIFORM = "uniform"
"""The allocator that a command takes if it names none."""
USELESS = 3.0
"""A method whose perplexity is so many times the best one is no choice, however fast it is."""


@dataclass(frozen=True)
class Recommendation:
    """A method and an allocator, and the reason for them."""

    method: str
    allocator: str
    why: str


Choice = tuple[str, str]
"""A method and an allocator."""


def recommend(
    pattern: str,
    sparsity: float | str | None,
    ffn: FeedForward,
    seconds: Callable[[str, str], float] | None = None,
    place: str = "here",
) -> Recommendation:
    """Name the method and allocator of lowest perplexity (geometric mean over texts) at the nearest measured sparsity.

    Methods that cannot prune models with the FFN layout `ffn` are left out. `seconds` estimates the time of a method
    with an allocator: then methods that take longer than QUICK are left out, too, and `why` names the best of them.
    `place` says where these times hold.
    Raises PrunebenchError for a wrong pattern or sparsity.
    """
    check_amount(pattern, sparsity)
    amount, means, told = _measured(pattern, sparsity, ffn)
    ranked = sorted(means, key=means.__getitem__)
    chosen = _in_time(ranked, means, seconds) if seconds else ranked[0]
    rank = ranked.index(chosen)
    shown = ", ".join(_valued(choice, means) for choice in ranked[rank : rank + SHOWN])
    why = f"lowest perplexity at {amount} {told}: {shown}"
    if not (seconds and rank):
        return Recommendation(*chosen, why)
    limit = f"{QUICK / 60:.0f} minutes {place}"
    if seconds(*chosen) <= QUICK:
        why = f"of the methods that end within {limit}, {why}"
    else:
        why = f"no good method ends within {limit}, and of the fastest ones it has the {why}"
    return Recommendation(*chosen, why + _slower(ranked[:rank], means, seconds))


def _slower(better: Sequence[Choice], means: Mapping[Choice, float], seconds: Callable[[str, str], float]) -> str:
    """Name the first of `better`, which were too slow, with their times; those that cannot do it are left out."""
    times = {choice: time for choice in better if math.isfinite(time := seconds(*choice))}
    said = [
        f"{_valued(choice, means)}, about {duration(time)} (--method {choice[0]}"
        f"{'' if choice[1] == UNIFORM else f' --allocator {choice[1]}'})"
        for choice, time in list(times.items())[:SHOWN]
    ]
    return f". Better but slower: {'; '.join(said)}" if said else ""


def _measured(pattern: str, sparsity: float | str | None, ffn: FeedForward) -> tuple[str, dict[Choice, float], str]:
    """Return the nearest measured amount, the mean perplexity of each choice there, and what these numbers are."""
    structured = parse_pattern(pattern).structured
    with resource(TABLE).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["pattern"] != "unstructured") == structured]
    points = {(row["pattern"], row["sparsity"]) for row in rows}
    if structured:
        easier, nearest = [], min(points, key=lambda point: (point[0] != pattern, point))
    else:
        distances = {point: round(abs(float(point[1]) - float(sparsity_text(sparsity))), 4) for point in points}
        *easier, nearest = sorted(
            (point for point in points if distances[point] == min(distances.values())),
            key=lambda point: float(point[1]),
        )
    logs = defaultdict(list)
    for row in rows:
        if (row["pattern"], row["sparsity"]) == nearest and method_named(row["method"]).reads(ffn).ok:
            logs[row["method"], row["allocator"]].append(math.log(float(row["value"])))
    means = {choice: math.exp(math.fsum(values) / len(values)) for choice, values in logs.items()}
    texts = " and ".join(dict.fromkeys(row["task"] for row in rows))
    told = f"in our own runs on {rows[0]['model']} (geometric mean over the tuning splits of {texts}; lower is better)"
    amount, asked = (nearest[0], pattern) if structured else (_percent(nearest[1]), _percent(sparsity_text(sparsity)))
    near = "" if amount == asked else f"(the nearest to {asked} in our table) "
    if easier:
        also = " and ".join(_percent(point[1]) for point in easier)
        near = f"(in our table {also} is as near to {asked}, and the harder task counts) "
    return amount, means, near + told


def _in_time(ranked: Sequence[Choice], means: Mapping[Choice, float], seconds: Callable[[str, str], float]) -> Choice:
    """Return the first of `ranked`, best first, that ends within QUICK; else the best of the faster ones."""
    useful = [choice for choice in ranked if means[choice] <= USELESS * means[ranked[0]]]
    times: dict[Choice, float] = {}
    for choice in useful:
        times[choice] = seconds(*choice)
        if times[choice] <= QUICK:
            return choice
    return next(choice for choice in useful if times[choice] <= PATIENCE * min(times.values()))


def _valued(choice: Choice, means: Mapping[Choice, float]) -> str:
    return f"{choice[0]} with {choice[1]} {means[choice]:.1f}"


def _percent(sparsity: str | float) -> str:
    return f"{float(sparsity):.0%}"
