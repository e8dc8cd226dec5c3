"""How `reconstruct` learns the kept weights of a block. It needs torch at import, so `reconstruct` imports it late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from prunebench.errors import CellFailure
from prunebench.runtime.progress import within

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView

SCALE = float(1 << 16)
"""The factor on the loss in the backward pass: gradients of float16 would be too small without it."""


def relative_error(outputs: Tensor, target: Tensor) -> Tensor:
    """||y - y'||^2 / ||y||^2 for outputs y' and y of equal shape, in float32; a target of zeros has the error 0."""
    y = target.float()
    whole = y.square().sum()
    return (outputs.float() - y).square().sum() / torch.where(whole > 0, whole, torch.inf)


@dataclass
class Part:
    """A part of a block whose kept weights learn to give the outputs that the unpruned part has."""

    block: BlockView
    linears: Sequence[str]
    """The linears that learn, by their names in the block."""
    dense_inputs: bool
    """Whether the hidden states of the dense model enter the block, or those of the pruned model."""
    targets: Sequence[Tensor]
    """The outputs of the unpruned part [batch, seqlen, width] on each calibration batch."""
    ends: tuple[str, str | None] | None = None
    """The linear that ends the part, and the one at whose input a pass may end; None: the block ends the part."""

    @torch.no_grad()
    def error(self, weights: Mapping[str, Tensor]) -> float:
        """Compute the mean relative error over all samples if linears of the block have `weights` [out, in]."""
        errors: list[float] = torch.stack([self._error(sample, weights) for sample in self.block.samples]).tolist()
        return sum(errors) / len(errors)

    def learn(
        self, weights: Mapping[str, Tensor], *, epochs: int, learning_rate: float, decay: float
    ) -> tuple[dict[str, Tensor], dict[str, float | None]]:
        """Learn from `weights` [out, in] of all linears of the block. Zeros stay zero.

        Each of the `epochs` has a step of AdamW on each sample, in their order. The learning rate falls linearly to 0;
        `decay` is the decoupled decay of weights. Returns the part's weights, learned (float32) or as they were if the
        error did not fall, and the errors before (`solver`) and after learning (`learned`, None if learning went
        astray). Raises CellFailure if the error before is not finite.
        """
        before = self.error(weights)
        if not isfinite(before):
            raise CellFailure("the error of the pruned block is NaN or infinite before learning")
        learned = self._learned(weights, epochs, learning_rate, decay)
        after = self.error({**weights, **learned}) if learned else float("nan")
        # A comparison with NaN is false.
        best = learned if after < before else {linear: weights[linear] for linear in self.linears}
        return best, {"solver": before, "learned": after if isfinite(after) else None}

    def _learned(
        self, weights: Mapping[str, Tensor], epochs: int, learning_rate: float, decay: float
    ) -> dict[str, Tensor]:
        """The weights after all steps, or none if the loss of a step was not finite."""
        # Copies in float32: steps are far smaller than the spacing of numbers in bfloat16.
        masters = {linear: weights[linear].detach().float().clone().requires_grad_() for linear in self.linears}
        kept = {linear: master.detach() != 0 for linear, master in masters.items()}
        optimiser = torch.optim.AdamW(masters.values(), lr=learning_rate, weight_decay=decay)
        samples = self.block.samples
        steps = epochs * len(samples)
        for step in range(steps):
            within(step / steps, f"step {step + 1} of {steps}")
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (1 - step / steps)
            loss = self._error(samples[step % len(samples)], {**weights, **masters})
            if not loss.isfinite():
                return {}
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
        if self.ends is None:
            outputs = self.block.forward(batch, weights, dense=self.dense_inputs, row=row)
        else:
            linear, until = self.ends
            point = f"{linear}.out"
            values = self.block.values(batch, [point], weights, dense=self.dense_inputs, until=until, row=row)
            outputs = values[point]
        target = self.targets[batch][row].to(outputs.device)
        return relative_error(outputs.view_as(target), target)


def parts(
    block: BlockView, states: Literal["dense", "mixed", "pruned"], scope: Literal["block", "submodule"]
) -> dict[str, Part]:
    """The parts of a block that learn one after the other, by name. The block must be unpruned: it gives the targets.

    `states` says which model's hidden states enter the pruned and the unpruned block: those of the dense model, those
    of the pruned model, or `mixed`, the pruned model's for the pruned block and the dense model's for the targets.
    """
    # Targets are kept in memory: to compute them anew would cost a forward pass in every step.
    dense_inputs, dense_targets = states == "dense", states != "pruned"
    targets = block.dense_outputs() if dense_targets else block.outputs()
    linears = [linear for site in block.sites for linear in site.linears]
    if scope == "block":
        return {"block": Part(block, linears, dense_inputs, targets)}
    ffn = [linear for linear in linears if linear in (block.ffn.gate, block.ffn.up, block.ffn.down)]
    attention = [linear for linear in linears if linear not in ffn]
    end = block.attention_out
    behind = linears[linears.index(end) + 1 :]
    ends = (end, behind[0] if behind else None)
    attended = []
    for batch, whole in enumerate(targets):
        values = block.values(batch, [f"{end}.out"], dense=dense_targets, until=ends[1])[f"{end}.out"]
        attended.append(values.view(*whole.shape[:-1], -1).to(whole.device))
    return {
        "attention": Part(block, attention, dense_inputs, attended, ends),
        "ffn": Part(block, ffn, dense_inputs, targets),
    }
