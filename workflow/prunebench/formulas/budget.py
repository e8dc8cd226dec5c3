"""Functions that all allocators share: they bring the sparsities of linears into [0, 1] and onto the budget."""

import math
from collections.abc import Mapping, Sequence

from prunebench.errors import CellFailure

STEPS = 100
"""The number of bisection steps, enough for the last bit of a float64."""


def fit(wishes: Mapping[str, float], sizes: Mapping[str, tuple[int, int]], sparsity: float) -> dict[str, float]:
    """Move `wishes` (linear -> sparsity) into [0, 1] such that their mean, weighted by parameters, is `sparsity`.

    All wishes move by the same amount and are then cut to [0, 1]; bisection finds the amount that meets the budget.
    `sizes` maps each linear to (out, in).
    """
    weights = {linear: out * width for linear, (out, width) in sizes.items()}
    total = sum(weights.values())

    def moved(shift: float) -> dict[str, float]:
        return {linear: min(1.0, max(0.0, wish + shift)) for linear, wish in wishes.items()}

    low, high = -max(wishes.values()), 1 - min(wishes.values())
    for _ in range(STEPS):
        middle = (low + high) / 2
        mean = sum(share * weights[linear] for linear, share in moved(middle).items()) / total
        low, high = (middle, high) if mean < sparsity else (low, middle)
    return moved(high)


def spread_over_blocks(
    values: Sequence[float],
    blocks: Sequence[Sequence[str]],
    sizes: Mapping[str, tuple[int, int]],
    spread: float,
    sparsity: float,
) -> dict[str, float]:
    """Give each block one sparsity: the higher its value v_b, the denser; the ends are `2 spread` apart.

    With `r_b = 2 spread (v_b - min v) / (max v - min v)` every linear of block b gets `sparsity - r_b + mean(r)`, the
    mean weighted by parameters, through `fit` (OWL: Yin et al. 2024, eq. 1). Equal values give equal sparsities.
    `blocks` lists the linears of each block, `sizes` maps them to (out, in). Returns linear -> sparsity.
    Raises CellFailure if a value is not finite.
    """
    low, high = min(values), max(values)
    # The product is checked too: the distance of two finite values may overflow.
    if not all(map(math.isfinite, [*values, 2 * spread * (high - low)])):
        raise CellFailure(f"blocks cannot be ranked by values that are not finite: {[*values]}")
    ratios = [2 * spread * (value - low) / (high - low) if high > low else 0.0 for value in values]
    wishes = {linear: sparsity - ratio for ratio, linears in zip(ratios, blocks, strict=True) for linear in linears}
    return fit(wishes, sizes, sparsity)
