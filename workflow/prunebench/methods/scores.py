"""Importance scores that several methods and allocators share: pure functions, float64 in, float64 out.

float64 because a ranking must not depend on rounding: in float32 a few rows of a real model flip.
"""

from __future__ import annotations

from prunebench.lazy import torch


def magnitude(weight: torch.Tensor) -> torch.Tensor:
    """|W|, [out, in]."""
    return weight.double().abs()


def wanda(weight: torch.Tensor, squared_norm: torch.Tensor) -> torch.Tensor:
    """Wanda's S_ij = |W_ij| ||x_j||_2 (Sun et al. 2024, eq. 1), [out, in]; `squared_norm` is ||x_j||^2, [in].

    The published code averages ||x_j||^2 over samples; a common factor changes no ranking.
    """
    return weight.double().abs() * squared_norm.double().sqrt()
