"""Importance scores that several methods and allocators share: pure functions that compute in float64.

A ranking must not depend on rounding: in float32 a few rows of a real model change.
"""

from __future__ import annotations

from prunebench.lazy import torch


def magnitude(weight: torch.Tensor) -> torch.Tensor:
    """The magnitudes |W| of `weight` [out, in], as float64 [out, in]."""
    return weight.double().abs()


def wanda(weight: torch.Tensor, squared_norm: torch.Tensor) -> torch.Tensor:
    """Wanda's S_ij = |W_ij| ||x_j||_2 (Sun et al. 2024, eq. 1), float64 [out, in]; `squared_norm` is ||x_j||^2, [in].

    The published code averages ||x_j||^2 over samples; this common factor changes no ranking.
    """
    return weight.double().abs() * squared_norm.double().sqrt()


def above_zeros(score: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`score`, float64 [out, in], not negative, with the least positive number where it is 0 and `weight` is not."""
    return torch.where((score == 0) & (weight != 0), torch.finfo(score.dtype).tiny, score)


def ria(weight: torch.Tensor, squared_norm: torch.Tensor, power: float) -> torch.Tensor:
    """RIA's S_ij = (|W_ij| / sum_k |W_ik| + |W_ij| / sum_k |W_kj|) ||x_j||_2^power (Zhang et al. 2024), [out, in].

    `squared_norm` is ||x_j||^2, [in]. A row or column of zeros adds 0 to the sum in brackets.
    """
    size = weight.double().abs()
    rows, columns = (size.sum(dim, keepdim=True) for dim in (1, 0))
    relative = sum(size / total.masked_fill(total == 0, 1) for total in (rows, columns))
    return relative * squared_norm.double() ** (power / 2)
