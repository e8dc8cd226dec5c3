"""AlphaPruning: blocks whose spectra have heavier tails stay denser. It needs no data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from prunebench.allocators.base import Allocation, Allocator
from prunebench.errors import CellFailure
from prunebench.formulas.budget import fit
from prunebench.formulas.finite import is_finite
from prunebench.lazy import torch
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy

BINS = 100
"""The number of bins of the histogram whose peak is where a tail begins."""


class AlphaPruning(Allocator):
    """Give each block one sparsity, from how heavy the tails of its weights' spectra are (PL_Alpha_Hill).
    Heavier tails are a sign of better trained layers, which stay denser. It needs no data.

        allocators:
          alphapruning_wide: {allocator: alphapruning, params: {epsilon: 0.5}}

    For each linear, let `lambda_1 <= ... <= lambda_n` be the eigenvalues of `W^T W` that are not 0. The tail starts at
    `lambda_min`, the smallest eigenvalue in the fullest of 100 bins of `log10 lambda`. Hill's estimate of the exponent
    of the tail's power law is `alpha = 1 + k / sum(ln(lambda_j / lambda_min))` over the k eigenvalues after
    `lambda_min`; heavier tails have lower exponents. A block's alpha, the mean over its linears that are not all zero,
    is mapped linearly to a ratio: the lowest alpha to `1 - epsilon`, the highest to `1 + epsilon`. Sparsities are these
    ratios, scaled until their mean, weighted by parameters, is s; they are cut to [0, 1], and the other blocks make up
    for it. The cost per linear is a product W W^T on the smaller side and its eigenvalues, in float64:
    O(min(out, in)^2 (out + in)).

    For LLaMA-2-7B at 70% the authors take an epsilon of 0.5 with magnitude, 0.3 with Wanda and 0.2 with SparseGPT; the
    default of their code is 0.3. That code looks for the start of the tail among all eigenvalues from `log10(0.95 p)`
    to `1.5 p`, where p is the lower end of the fullest bin (the logarithm is most likely a mistake). It takes the start
    whose tail is nearest to a power law in Kolmogorov-Smirnov distance, and counts `lambda_min` itself among the k
    (preset `released`, here in float64 and without eigenvalues that are 0). It does not cut ratios above 1.
    """

    class Params(Parameters):
        """Parameters of AlphaPruning."""

        epsilon: float = Field(0.3, ge=0, le=1, description="the greatest distance of ratios from 1, before scaling")
        tail: Literal["peak", "fitted"] = "peak"
        """peak: a tail starts at the peak of the spectrum; fitted: up to 1.5 times that, where a power law fits best"""

    name = "alphapruning"
    title = "AlphaPruning"
    reference = "Lu et al. 2024, AlphaPruning: Using Heavy-Tailed Self Regularization Theory"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"tail": "fitted"}}

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the dense model's weights. Raises CellFailure if a spectrum has no tail."""
        estimate = {"peak": alpha_from_peak, "fitted": alpha_fitted}[self.params.tail]
        alphas = []
        for linears in model.blocks:
            filled = [linear for linear in linears if model.weight(linear).any()]
            if not filled:
                raise CellFailure(
                    f"all weights of {linears[0]} and the others of its block are 0: no spectrum, no tail"
                )
            alphas.append(sum(estimate(spectrum(model.weight(linear), linear)) for linear in filled) / len(filled))
        return fit(scaled(alphas, model.blocks, model.sizes, self.params.epsilon, sparsity), model.sizes, sparsity)


def spectrum(weight: torch.Tensor, linear: str) -> torch.Tensor:
    """The eigenvalues of W^T W that are not 0, float64, ascending; `weight` [out, in].

    Raises CellFailure, which names `linear`, if fewer than two of them differ or if a weight is not finite.
    """
    W = weight.double()
    if not is_finite(W):
        raise CellFailure(f"the weights of {linear} are not finite")
    # Both products have the same eigenvalues apart from zeros.
    values: torch.Tensor = torch.linalg.eigvalsh(W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W)
    # Eigenvalues of 0 come out as rounding errors of either sign, and equal ones differ by such errors.
    error = values[-1] * max(W.shape) * torch.finfo(torch.float64).eps
    values = values[values > error]
    if len(values) < 2 or values[-1] - values[0] <= error:
        raise CellFailure(f"the spectrum of {linear} has no tail: it has fewer than two different eigenvalues above 0")
    return values


def alpha_from_peak(values: torch.Tensor) -> float:
    """Hill's 1 + k / sum ln(lambda_j / lambda_min) over the k eigenvalues after the first one in the fullest bin."""
    start, _ = _peak(values)
    # If the fullest bin is the last one, the tail is at least the largest eigenvalue.
    start = min(start, int((values < values[-1]).sum()) - 1)
    ratios = values[start + 1 :] / values[start]
    return float(1 + len(ratios) / ratios.log().sum())


def alpha_fitted(values: torch.Tensor) -> float:
    """The exponent of the tail that is nearest to its power law, among the tails that start near or before the peak.

    For the n eigenvalues from lambda_min on, alpha = 1 + n / sum ln(lambda_j / lambda_min); the distance is the largest
    |1 - (lambda_j / lambda_min)^(1 - alpha) - j / n|, j = 0 ... n - 1.
    """
    _, peak = _peak(values)
    near = (values >= math.log10(0.95 * peak)) & (values <= 1.5 * peak) & (values < values[-1])
    nearest, best = math.inf, alpha_from_peak(values)
    for first in near.nonzero().squeeze(1).tolist():
        ratios = values[first:] / values[first]
        n = len(ratios)
        alpha = 1 + n / ratios.log().sum()
        observed = torch.arange(n, dtype=torch.float64) / n
        distance = float((1 - ratios ** (1 - alpha) - observed).abs().max())
        if distance < nearest:
            nearest, best = distance, float(alpha)
    return best


def scaled(
    alphas: Sequence[float],
    blocks: Sequence[Sequence[str]],
    sizes: Mapping[str, tuple[int, int]],
    epsilon: float,
    sparsity: float,
) -> Allocation:
    """Sparsities proportional to each block's alpha, mapped linearly to [1 - epsilon, 1 + epsilon], on the budget.

    They may exceed 1. Equal alphas give equal sparsities. `sizes` maps each linear to (out, in).
    """
    low, high = min(alphas), max(alphas)
    ratios = [1 + epsilon * (2 * (alpha - low) / (high - low) - 1) if high > low else 1.0 for alpha in alphas]
    shares = {linear: ratio for ratio, linears in zip(ratios, blocks, strict=True) for linear in linears}
    weights = {linear: out * width for linear, (out, width) in sizes.items()}
    mean = sum(shares[linear] * weights[linear] for linear in sizes) / sum(weights.values())
    return {linear: sparsity * share / mean for linear, share in shares.items()}


def _peak(values: torch.Tensor) -> tuple[int, float]:
    """The index of the first value in the (lowest) fullest bin of log10 `values`, and the lower end of that bin."""
    # Values are divided by the largest: logarithms near 0 distinguish values that are nearly equal.
    logs = (values / values[-1]).log10()
    low, width = float(logs[0]), -float(logs[0]) / BINS
    bins = ((logs - low) / width).long().clamp(max=BINS - 1)
    peak = int(torch.bincount(bins, minlength=BINS).argmax())
    return int((bins == peak).nonzero()[0]), float(values[-1]) * 10 ** (low + width * peak)
