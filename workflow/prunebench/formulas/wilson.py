"""The interval of a fraction of right answers."""

from __future__ import annotations

import math

Z = 1.959964
"""The 97.5% point of the normal distribution."""


def wilson(fraction: float, rows: float) -> tuple[float, float]:
    """Return the 95% interval of a `fraction` of `rows` right answers, by Wilson's score.

    Unlike a standard error it says something where all answers are right or all are wrong. E. B. Wilson 1927, Probable
    Inference, the Law of Succession, and Statistical Inference.
    """
    spread = Z**2 / rows
    middle = (fraction + spread / 2) / (1 + spread)
    reach = Z / (1 + spread) * math.sqrt(fraction * (1 - fraction) / rows + spread / (4 * rows))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def wilson_error(fraction: float, rows: float) -> float:
    """Return the standard error whose 1.96-fold is the longer half of Wilson's interval."""
    low, high = wilson(fraction, rows)
    return max(fraction - low, high - fraction) / Z


def certain(value: float, stderr: float | None) -> bool:
    """Whether an accuracy has a standard error of 0 only because it is 0 or 1."""
    return value in (0.0, 1.0) and not stderr
