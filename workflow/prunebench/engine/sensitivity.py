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
LEAST = 0.05
"""The least sensitivity, as a fraction of the root mean square over the outputs of a linear."""
SMALLEST = 1e-6
"""The least root mean square of a token's hidden states by which values are divided."""


def sensitivities(block: BlockView) -> dict[str, Tensor]:
    """The sensitivity of each output of each linear, float32 [out]: the root of `squares`.

    The mean square over a linear's outputs is 1, before the smallest are raised to LEAST. The block must be unpruned.
    Raises CellFailure if a gradient is not finite.
    """
    return {linear: _normalised(total) for linear, total in squares(block).items()}


def squares(block: BlockView) -> dict[str, Tensor]:
    """s_r^2 = sum_t |d f / d y_tr|^2 for each linear, float32 [out], y_tr being its output r for token t.

    f holds the outputs of the block for all tokens of a window in the dense model, each token divided by its root mean
    square, as the norm that follows does. Small errors that do not depend on each other then move f by
    sum_r s_r^2 |error_r|^2. One backward pass estimates the sums: with random signs z, the square of d <z, f> / d y_tr
    has the mean |d f / d y_tr|^2 (Hutchinson 1990). Raises CellFailure if a gradient is not finite.
    """
    source = torch.Generator().manual_seed((block.seed << 20) + block.index)
    totals: dict[str, Tensor] = {}
    for batch, row in block.samples[::SAMPLED]:
        for linear, gradient in block.gradients_by_outputs(batch, row, lambda f: _signed(f, source)).items():
            square = gradient.float().square().sum(dim=0)
            totals[linear] = totals[linear] + square if linear in totals else square
    for linear, total in totals.items():
        if not is_finite(total):
            name, dtype = block.full_names[linear], block.inputs(0, dense=True).dtype
            raise CellFailure(f"gradients by the outputs of {name} are NaN or infinite: {advice(dtype)}")
    return totals


def _signed(outputs: Tensor, source: torch.Generator) -> Tensor:
    """The sum of outputs [1, tokens, hidden] with random signs, where each token has a root mean square of about 1."""
    # The CPU draws: GPUs have other generators.
    signs = torch.randint(2, outputs.shape, generator=source).mul_(2).sub_(1).to(outputs.device)
    roots = outputs.detach().float().square().mean(dim=-1, keepdim=True).sqrt().clamp_min(SMALLEST)
    return (outputs.float() * (signs / roots)).sum()


def _normalised(squares: Tensor) -> Tensor:
    """The roots of `squares` [out], with a mean square of 1 before the smallest are raised; 1 if all are 0."""
    mean = squares.mean()
    return (squares / mean).sqrt().clamp_min(LEAST) if mean else torch.ones_like(squares)
