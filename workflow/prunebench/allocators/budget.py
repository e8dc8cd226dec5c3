"""Bringing wished-for sparsities into [0, 1] and onto the budget. Pure functions, shared by all allocators."""

from collections.abc import Mapping

STEPS = 100
"""Bisection steps: enough for the last bit of a float64."""


def fit(wishes: Mapping[str, float], sizes: Mapping[str, tuple[int, int]], sparsity: float) -> dict[str, float]:
    """The sparsities nearest in shape to `wishes` that are in [0, 1] and whose parameter-weighted mean is `sparsity`.

    All wishes move by the same amount and are then cut to [0, 1]; the amount that meets the budget is found by
    bisection. `sizes` maps each linear to (out, in).
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
