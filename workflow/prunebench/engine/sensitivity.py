"""How far an error in each output of a block's linears moves the output of the block."""

from __future__ import annotations

import torch
from torch import Tensor

from prunebench.engine.block import BlockView
from prunebench.engine.finite import advice
from prunebench.errors import CellFailure
from prunebench.formulas.finite import is_finite

SAMPLED = 4
"""Every fourth calibration window is looked at."""
BOUND = 10.0
"""No token counts more in a linear than this multiple of the median over the tokens of its window."""
LEAST = 0.05
"""The least sensitivity, as a fraction of the root mean square over the outputs of a linear."""
LEAST_ROOT = 1e-3
"""The least root mean square of a token's states by which they are divided, as a fraction of the median."""


def sensitivities(block: BlockView) -> dict[str, Tensor]:
    """The sensitivity of each output of each linear, float32 [out]: the root of `squares`, normalised.

    The mean square over a linear's outputs is 1, before the smallest are raised to LEAST. The block must be unpruned.
    Raises CellFailure if a gradient is not finite.
    """
    return {linear: _normalised(total) for linear, total in squares(block).items()}


def squares(block: BlockView) -> dict[str, Tensor]:
    """s_r^2 = sum_t |d f / d y_tr|^2 for each linear, float32 [out], y_tr being its output r for token t.

    f holds the block's outputs for all tokens of every fourth window in the dense model, each token divided by its root
    mean square, which counts as a constant: so does the norm that follows. If errors in y are independent, with equal
    variances v_r for all tokens, the expected |change of f|^2 is sum_r v_r s_r^2.

    One backward pass estimates the sums: with random signs z, the square of d <z, f> / d y_tr has the mean
    |d f / d y_tr|^2 (Hutchinson 1990). A token on which all others look may have almost the whole sum, and one draw
    would decide: so the squares of a token are shrunk where their sum over r is above BOUND times the window's median.
    Whether statistics count a token plays no part. Raises CellFailure if a gradient is not finite.
    """
    source = torch.Generator().manual_seed((block.seed << 20) + block.index)
    totals: dict[str, Tensor] = {}
    for batch, row in block.samples[::SAMPLED]:
        for linear, gradient in block.gradients_by_outputs(batch, row, lambda f: _signed(f, source)).items():
            if not is_finite(gradient):
                name = block.full_names[linear]
                raise CellFailure(f"gradients by the outputs of {name} are NaN or infinite: {advice(gradient.dtype)}")
            total = _bounded_sum(gradient.float().square())
            totals[linear] = totals[linear] + total if linear in totals else total
    return totals


def _bounded_sum(square: Tensor) -> Tensor:
    """The sum [out] of `square` [tokens, out] over tokens, none of which has a sum of more than BOUND medians."""
    size = square.sum(dim=1, keepdim=True)
    bound = BOUND * size.median()  # 0 if most tokens have no part in f
    return (square * torch.where(bound > 0, (bound / size).clamp_max(1), 1.0)).sum(dim=0)


def _signed(outputs: Tensor, source: torch.Generator) -> Tensor:
    """The sum of outputs [1, tokens, hidden] with random signs, where each token has a root mean square of about 1."""
    # The CPU draws: GPUs have other generators.
    signs = torch.randint(2, outputs.shape, generator=source, dtype=torch.int8).mul_(2).sub_(1).to(outputs.device)
    roots = outputs.detach().float().square().mean(dim=-1, keepdim=True).sqrt()
    least = (LEAST_ROOT * roots.median()).clamp_min(torch.finfo(roots.dtype).tiny)
    return (outputs.float() * (signs / roots.clamp_min(least))).sum()


def _normalised(total: Tensor) -> Tensor:
    """The roots of `total` [out], with a mean square of 1 before the smallest are raised; 1 if all are 0."""
    mean = total.mean()
    return (total / mean).sqrt().clamp_min(LEAST) if mean else torch.ones_like(total)
