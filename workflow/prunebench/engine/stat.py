"""The statistics that a method can declare in `needs`."""

from __future__ import annotations

from enum import StrEnum


class Stat(StrEnum):
    """A statistic that the engine collects. `engine/statistics.py` accumulates those of activations."""

    SITE_NORM = "site_norm"
    """The squared norm of each input channel over all calibration tokens, float64 [in]."""
    HESSIAN = "hessian"
    """The Gram matrix of the inputs, the sum of x x^T over all calibration tokens, float64 [in, in]."""
    GRADIENT = "gradient"
    """The gradient of the loss by each weight, float32 [out, in]: rule `gradients` computes it for the whole dense
    model, and `block.gradient` reads it."""
