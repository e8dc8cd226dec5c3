"""What a method can ask the engine for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class Stat(StrEnum):
    """What a method can ask for. A new activation statistic of a site is added where it is accumulated."""

    SITE_NORM = "site_norm"
    """Squared norm of each input channel over all calibration tokens, float64 [in]."""
    HESSIAN = "hessian"
    """Gram matrix of the inputs, sum of x x^T over all calibration tokens, float64 [in, in]."""
    GRADIENT = "gradient"
    """Of the loss by each weight, float32 [out, in]. No activation statistic: rule `gradients` makes it, for the whole
    dense model at once, and `block.gradient` reads it."""
