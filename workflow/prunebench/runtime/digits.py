"""The digits of a printed number: as many as a reader can use, in tables, figures and the report alike."""

import math

SIGNIFICANT = 5
"""The most digits that a measured number is printed with."""
LARGE = 1e4
"""Perplexities from here on are printed as 9.9e4: the model has collapsed, and only the power of ten says something."""
LONG = 1e7
"""Other numbers from here on are printed in this way too, as nobody counts so many digits."""


def rounded(
    value: float,
    decimals: int = 2,
    *,
    collapses: bool = False,
    significant: int = SIGNIFICANT,
    beside: float = 0.0,
) -> str:
    """Print `value` with at most `decimals` digits after the point, and `significant` digits in all.

    Digits before the point are never dropped below LARGE (if it `collapses`, as perplexities do) or LONG: 12.34,
    575.13, 1236.9, 9.9e4, 1.6e8. The spread of a number, which stands `beside` it, has as many decimals as that.
    """
    if not math.isfinite(value):
        return str(value)
    size = max(abs(float(f"{number:.{significant}g}")) for number in (value, beside))
    if size >= (LARGE if collapses else LONG):
        return short(value, 2)
    before = math.floor(math.log10(size)) + 1 if size >= 1 else 1
    return f"{value:.{max(0, min(decimals, significant - before))}f}"


def short(value: float, significant: int = 1) -> str:
    """Print `value` as a number below ten and a power of ten, with `significant` digits: 1.6e8."""
    mantissa, exponent = f"{value:.{significant - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Print a time in the largest unit that it fills."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
