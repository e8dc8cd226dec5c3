"""How `reconstruct` learns the kept weights of a block. It needs torch at import, so `reconstruct` imports it late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prunebench.errors import CellFailure

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView

SCALE = float(1 << 16)
"""The factor on the loss in the backward pass: gradients of float16 would be too small without it."""


def relative_error(outputs: Tensor, target: Tensor) -> Tensor:
    """||y - y'||^2 / ||y||^2 for outputs y' and y of equal shape, in float32; a target of zeros has the error 0."""
    y = target.float()
    whole = y.square().sum()
    return (outputs.float() - y).square().sum() / torch.where(whole > 0, whole, torch.inf)


class Reconstruction:
    """A block whose kept weights learn to give the outputs that the dense block has."""

    def __init__(self, block: BlockView, *, dense_inputs: bool, dense_targets: bool) -> None:
        """Keep the outputs of the block, which must still be dense, for the dense or the pruned model's inputs."""
        self._block, self._dense_inputs = block, dense_inputs
        # They are kept in memory: to compute them anew would cost a forward pass in every step.
        with torch.no_grad():
            self._targets = [block.forward(batch, dense=dense_targets) for batch in block.batches]

    @torch.no_grad()
    def error(self, weights: Mapping[str, Tensor]) -> float:
        """Compute the mean relative error over samples if the linears have `weights`, by their names in the block."""
        errors = [float(self._error(sample, weights)) for sample in self._block.samples]
        return sum(errors) / len(errors)

    def learn(
        self, start: Mapping[str, Tensor], *, epochs: int, learning_rate: float, decay: float
    ) -> dict[str, Tensor]:
        """Return the weights, float32 [out, in] by linear, after `epochs` of AdamW from `start`. Zeros stay zero.

        Each step is on one sample, in their order; the learning rate falls linearly to 0. `decay` is the decoupled
        decay of weights. Raises CellFailure if the loss is not finite.
        """
        # Copies in float32: steps are far smaller than the spacing of numbers in bfloat16.
        masters = {linear: weight.detach().float().clone().requires_grad_() for linear, weight in start.items()}
        kept = {linear: weight != 0 for linear, weight in start.items()}
        optimiser = torch.optim.AdamW(masters.values(), lr=learning_rate, weight_decay=decay)
        samples = self._block.samples
        steps = epochs * len(samples)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (1 - step / steps)
            loss = self._error(samples[step % len(samples)], masters)
            if not loss.isfinite():
                raise CellFailure(f"the loss is NaN or infinite in step {step + 1} of block {self._block.index}")
            optimiser.zero_grad()
            (SCALE * loss).backward()
            for linear, master in masters.items():
                assert master.grad is not None
                # A gradient of 0 in all steps leaves a weight of 0 as it is.
                master.grad *= kept[linear]
            optimiser.step()
        return {linear: master.detach() for linear, master in masters.items()}

    def _error(self, sample: tuple[int, int], weights: Mapping[str, Tensor]) -> Tensor:
        batch, row = sample
        outputs = self._block.forward(batch, weights, dense=self._dense_inputs, row=row)
        return relative_error(outputs, self._targets[batch][row : row + 1].to(outputs.device))
