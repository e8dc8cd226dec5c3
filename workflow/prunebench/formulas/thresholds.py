"""Thresholds over the scores of many linears together: exact, with one matrix of scores in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from prunebench.errors import CellFailure
from prunebench.lazy import torch

Scores = Callable[[str], "torch.Tensor"]
"""The scores of a linear: float64 [out, in], none below 0. They are made anew whenever asked for."""

SHIFT = 44
"""Scores are counted by the first 20 bits of their float64: sign, exponent and 8 bits of the mantissa."""


def at_ranks(scores: Scores, linears: Sequence[str], low: int, high: int) -> tuple[float, float]:
    """The scores of ranks `low` <= `high` among those of all `linears` together; rank 0 is the smallest.

    Two passes: the first counts scores by their leading bits, which order numbers from 0 up as their values do; the
    second collects those of the buckets of the two ranks. What is between two neighbouring ranks is empty, so where
    `high` is `low` or `low + 1`, that is a few thousandths of all. CellFailure if a score is not finite.
    """
    counts = torch.zeros(1 << (63 - SHIFT), dtype=torch.int64)
    for linear in linears:
        counts += torch.bincount(_bits(scores, linear) >> SHIFT, minlength=len(counts))
    through = counts.cumsum(0)
    first, last = torch.searchsorted(through, torch.tensor([low, high]), right=True).tolist()
    collected = []
    for linear in linears:
        bits = _bits(scores, linear)
        collected.append(bits[(bits >= first << SHIFT) & (bits < (last + 1) << SHIFT)])
    values = torch.cat(collected).sort().values.view(torch.float64)
    below = int(through[first] - counts[first])
    return float(values[low - below]), float(values[high - below])


def shares_below(scores: Scores, sizes: Mapping[str, tuple[int, int]], sparsity: float) -> dict[str, float]:
    """How much of each linear is among the lowest `sparsity` of the scores of all; `sizes` maps linears to (out, in).

    Of scores that equal the threshold every linear gives the same fraction, so the weighted mean is `sparsity`.
    CellFailure if a score is not finite.
    """
    weights = {linear: out * width for linear, (out, width) in sizes.items()}
    wanted = sparsity * sum(weights.values())
    rank = max(0, math.ceil(wanted) - 1)
    threshold, _ = at_ranks(scores, list(sizes), rank, rank)
    below, tied = {}, {}
    for linear in sizes:
        found = scores(linear)
        below[linear], tied[linear] = int((found < threshold).sum()), int((found == threshold).sum())
    fraction = (wanted - sum(below.values())) / sum(tied.values())
    return {linear: (below[linear] + fraction * tied[linear]) / weights[linear] for linear in sizes}


def _bits(scores: Scores, linear: str) -> torch.Tensor:
    """The scores of `linear` as integers, int64 [out * in]: in the same order, as none has a sign."""
    found = scores(linear)
    # One NaN or infinity spoils the sum.
    if not found.sum().isfinite():
        raise CellFailure(f"the scores of {linear} are not finite (NaN or infinity in weights or activations)")
    return found.reshape(-1).view(torch.int64)
