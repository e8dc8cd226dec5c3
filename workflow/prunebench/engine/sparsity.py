"""Checks that pruned linears have the zeros that their sparsity means.

A linear's record counts `weights`, `inputs`, `zeros`, zeros before pruning (`already_zero`), and `zeros_beyond_target`:
those of them that are in a part of the matrix that should have fewer zeros (`Method.unit`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prunebench.errors import CellFailure


def totals(linears: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The sums of the counts of several linears; of `inputs`, the least."""
    linears = list(linears)
    counts = ("weights", "zeros", "already_zero", "zeros_beyond_target")
    return {
        **{count: sum(linear[count] for linear in linears) for count in counts},
        "inputs": min(linear["inputs"] for linear in linears),
    }


def check(counts: Mapping[str, int], target: float, where: str = "", *, exact: bool = True) -> None:
    """Raise CellFailure if the sparsity of `counts` (see `totals`) misses `target` by more than rounding.

    There may be as many more zeros as are beyond the target; a method that is not `exact` may prune more.
    """
    achieved, beyond = counts["zeros"] / counts["weights"], counts["zeros_beyond_target"] / counts["weights"]
    tolerance = max(1e-3, 1 / counts["inputs"])
    most = target + beyond + tolerance if exact else 1
    if not target - tolerance <= achieved <= most:
        excuse = f" (and the {beyond:.4f} that were zero where fewer were asked for)" if beyond else ""
        raise CellFailure(
            f"{where}sparsity {achieved:.4f} misses the target {target:.4f}{excuse} by more than {tolerance:.4f}"
        )


def check_block(
    block: int, linears: Mapping[str, Mapping[str, Any]], shares: Mapping[str, float], *, exact: bool
) -> None:
    """Check one block (see `check`); its target is the mean of the `shares` of its linears, weighted by size."""
    counts = totals(linears.values())
    target = sum(shares[name] * linear["weights"] for name, linear in linears.items()) / counts["weights"]
    check(counts, target, f"block {block}: ", exact=exact)
