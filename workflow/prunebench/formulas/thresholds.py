"""Exact thresholds over the scores of many linears together, with one matrix of scores in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from prunebench.errors import CellFailure
from prunebench.formulas.finite import is_finite
from prunebench.lazy import torch

Scores = Callable[[str], "torch.Tensor"]
"""A function from a linear to its scores, float64 [out, in], none below 0. Every call computes them anew."""

SHIFT = 44
"""The number of low bits of a float64 left out when scores are counted: sign, exponent and 8 more bits remain."""


def at_ranks(scores: Scores, linears: Sequence[str], low: int, high: int) -> tuple[float, float]:
    """The scores of ranks `low` <= `high` among those of all `linears` together; rank 0 is the smallest.

    The first of two passes counts scores by their leading bits, which order numbers from 0 up as their values do; the
    second collects the scores from the bucket of `low` to that of `high`. Where `high` is `low` or `low + 1`, these are
    a few thousandths of all. Raises CellFailure if a score is not finite.
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
    """The fraction of each linear's scores among the lowest `sparsity` of all; `sizes` maps linears to (out, in).

    Each linear gives the same fraction of its scores that equal the threshold, so the weighted mean is `sparsity`.
    Raises CellFailure if a score is not finite.
    """
    weights = {linear: out * width for linear, (out, width) in sizes.items()}
    zeros = sparsity * sum(weights.values())
    rank = max(0, math.ceil(zeros) - 1)
    threshold, _ = at_ranks(scores, list(sizes), rank, rank)
    below, tied = {}, {}
    for linear in sizes:
        values = scores(linear)
        below[linear], tied[linear] = int((values < threshold).sum()), int((values == threshold).sum())
    fraction = (zeros - sum(below.values())) / sum(tied.values())
    return {linear: (below[linear] + fraction * tied[linear]) / weights[linear] for linear in sizes}


def _bits(scores: Scores, linear: str) -> torch.Tensor:
    """The bits of `linear`'s scores as int64 [out * in], in the order of the scores, as none is negative."""
    values = scores(linear)
    if not is_finite(values):
        raise CellFailure(f"the scores of {linear} are not finite (NaN or infinity in weights or activations)")
    return values.reshape(-1).view(torch.int64)
