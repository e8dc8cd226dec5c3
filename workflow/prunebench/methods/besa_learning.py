"""How BESA learns the sparsities of one block. It needs torch at import, so `besa` imports it only when it prunes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from prodigyopt import Prodigy
from torch import Tensor

from prunebench.errors import CellFailure
from prunebench.formulas import masks
from prunebench.formulas.finite import are_finite
from prunebench.methods import besa_updates as updates
from prunebench.runtime.progress import within

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.methods.besa import Besa

SCALE = float(1 << 16)
"""The factor on the loss in the backward pass, for float16, where gradients are too small without it."""


class Pruning(torch.autograd.Function):
    """The straight-through estimator: it has the value of the hard mask and the derivative of the soft one."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, beta: Tensor, ranks: Tensor, reach: Tensor, zeros: Tensor) -> Tensor:
        """Mask `weight` (see `pruned`)."""
        ctx.save_for_backward(weight, ranks, reach)
        ctx.rows, ctx.dtype = len(beta), beta.dtype
        return weight * (ranks >= zeros[:, None])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None, None]:
        """Compute dL/dbeta_k = -sum_i dL/dw'_i w_i R_ik, where i is the rank of a weight in its row."""
        weight, ranks, reach = ctx.saved_tensors
        pull = gradient.float() * weight.float()
        # Every place is written once, so this gives the same bits each time, on a GPU too.
        by_rank = torch.empty_like(pull).scatter_(1, ranks.long(), pull)
        if ctx.rows == 1:
            by_rank = by_rank.sum(dim=0, keepdim=True)
        return None, -(by_rank @ reach).to(ctx.dtype), None, None, None


def pruned(weight: Tensor, beta: Tensor, ranks: Tensor, reach: Tensor, zeros: Tensor) -> Tensor:
    """`weight` [out, in] without the `zeros` [rows] weights of lowest rank in each row; differentiable in `beta`.

    `rows` is out, or 1 where all rows of the matrix share one sparsity. The derivative is that of
    weight * (1 - soft_mask), at the value of the hard mask: hard - soft.detach() + soft, without its rounding.
    """
    result: Tensor = Pruning.apply(weight, beta, ranks, reach, zeros)
    return result


class Problem:
    """The linears of one block whose sparsities are learned, and the outputs that the block should keep."""

    def __init__(
        self, block: BlockView, ranks: Mapping[str, Tensor], fixed: Mapping[str, Tensor], params: Besa.Params
    ) -> None:
        """`ranks` (see `masks.ranks`) of the linears to learn; `fixed` are pruned weights of other linears."""
        self._block, self._ranks, self._fixed, self._params = block, ranks, fixed, params
        self._dense = {linear: block.weight(linear) for linear in ranks}
        # They are kept in memory: to compute them anew would cost a forward pass in every step.
        self._targets = block.outputs()

    def learn(self, budget: float) -> dict[str, Tensor]:
        """Learn alpha of each linear, float64 [rows] or [1] for a matrix; the mean over weights is about `budget`.

        Raises CellFailure if the loss is not finite.
        """
        params = self._params
        device = next(iter(self._ranks.values())).device
        p = updates.candidates(params.candidates).to(device)
        begin = updates.start(budget if params.start == "budget" else 0.5, params.candidates).to(device)
        widths = {ranks.shape[1] for ranks in self._ranks.values()}
        reach = {width: updates.reach(width, params.candidates).to(device) for width in widths}
        rows = {linear: len(ranks) if params.granularity == "row" else 1 for linear, ranks in self._ranks.items()}
        theta = {
            linear: torch.zeros(count, len(p), dtype=torch.float64, device=device, requires_grad=True)
            for linear, count in rows.items()
        }
        optimiser = Prodigy(theta.values(), lr=1.0, d_coef=params.d_coef)
        samples = self._block.samples
        for step in range(params.steps):
            within(step / params.steps, f"step {step + 1} of {params.steps}")
            beta = {linear: updates.weights(logits, begin, smooth=params.sigmoid) for linear, logits in theta.items()}
            alpha = {linear: shares @ p for linear, shares in beta.items()}
            trial = {
                linear: pruned(
                    self._dense[linear],
                    beta[linear],
                    ranks,
                    reach[ranks.shape[1]],
                    updates.zeros(alpha[linear].detach(), ranks.shape[1]),
                )
                for linear, ranks in self._ranks.items()
            }
            excess = (self._mean(alpha) - budget) / budget
            loss = self._error(samples[step % len(samples)], trial) + params.sparsity_beta * excess.square()
            if not loss.isfinite():
                raise CellFailure(f"BESA's loss is NaN or infinite in step {step + 1} of block {self._block.index}")
            optimiser.zero_grad()
            (SCALE * loss).backward()
            for logits in theta.values():
                assert logits.grad is not None
                logits.grad /= SCALE
            optimiser.step()
        learned = {
            linear: updates.weights(logits.detach(), begin, smooth=params.sigmoid) @ p
            for linear, logits in theta.items()
        }
        # The loss is checked before each step, so the last step has not been checked yet.
        if not are_finite(learned.values()):
            raise CellFailure(f"BESA's last step in block {self._block.index} gave NaN or infinity")
        return learned

    @torch.no_grad()
    def error(self, zeros: Mapping[str, Tensor]) -> float:
        """Mean relative output error of the block if each row has `zeros` zeros (int64 [rows] or [1])."""
        trial = {linear: masks.zeroed(self._dense[linear], self.gone(linear, row)) for linear, row in zeros.items()}
        errors: list[float] = torch.stack([self._error(sample, trial) for sample in self._block.samples]).tolist()
        return sum(errors) / len(errors)

    def gone(self, linear: str, zeros: Tensor) -> Tensor:
        """Mask [out, in], True for the `zeros` weights of lowest rank in each row."""
        ranks = self._ranks[linear]
        return ranks < zeros[:, None].to(ranks.device)

    def _error(self, sample: tuple[int, int], trial: Mapping[str, Tensor]) -> Tensor:
        batch, row = sample
        outputs = self._block.forward(batch, {**self._fixed, **trial}, row=row)
        return updates.error(outputs, self._targets[batch][row].to(outputs.device))

    def _mean(self, alpha: Mapping[str, Tensor]) -> Tensor:
        """The mean sparsity of all weights of the linears, for their sparsities `alpha`."""
        sizes = {linear: weight.numel() for linear, weight in self._dense.items()}
        return torch.stack([rows.mean() * sizes[linear] for linear, rows in alpha.items()]).sum() / sum(sizes.values())
