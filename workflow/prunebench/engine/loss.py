"""Next-token losses and perplexity of a streamed model."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from prunebench.engine.activations import advance, embed
from prunebench.engine.finite import cause, check_states
from prunebench.engine.model import StreamedModel
from prunebench.errors import CellFailure
from prunebench.runtime.progress import track

MEANINGLESS = 300
"""The mean loss beyond which its exp, squared, no longer fits a float."""


def perplexity(losses: list[float], text: str) -> float:
    """exp of the mean of window losses. Raises CellFailure, which names the `text`, if it would not fit a float."""
    mean = statistics.fmean(losses)
    if mean > MEANINGLESS:
        raise CellFailure(f"the mean loss on {text} is {mean:.0f} nats per token: the model is destroyed")
    return math.exp(mean)


@torch.no_grad()
def window_losses(model: StreamedModel, windows: Tensor, batch_size: int, *, quiet: bool = False) -> list[float]:
    """The mean negative log-likelihood (nats per predicted token) of each window; `windows` is int64 [n, seqlen].

    With `quiet` no progress is shown. Raises CellFailure if a loss is not finite.
    """
    activations = embed(model, windows, batch_size)
    for index in range(model.blocks) if quiet else track(range(model.blocks), "block"):
        with model.block(index) as module:
            advance(activations, module, index)
            check_states(activations.hidden, index)
    losses = []
    for window, hidden in zip(windows, torch.cat(activations.hidden), strict=True):
        # One window at a time: the logits are seqlen x vocabulary.
        logits = model.logits(window[None], hidden[None])[0, :-1].float()
        targets = window[1:].to(logits.device)
        losses.append(torch.nn.functional.cross_entropy(logits, targets).item())
    if not all(map(math.isfinite, losses)):
        reason = cause(model.tensors, activations.hidden[0].dtype)
        raise CellFailure(f"the loss is NaN or infinite on the text: {reason}")
    return losses
