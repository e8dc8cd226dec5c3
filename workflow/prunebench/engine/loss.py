"""Next-token losses and perplexity of a streamed model."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor, nn

from prunebench.engine.activations import advance, embed
from prunebench.engine.finite import cause, check_states
from prunebench.engine.model import StreamedModel
from prunebench.errors import CellFailure
from prunebench.runtime.progress import track

MEANINGLESS = 300
"""The mean loss beyond which its exp, squared, no longer fits a float."""

IN_CACHE = 2**18
"""The most logits of which a processor makes float32 copies at a time."""


def perplexity(losses: list[float], text: str) -> float:
    """exp of the mean of window losses. Raises CellFailure, which names the `text`, if it would not fit a float."""
    mean = statistics.fmean(losses)
    if mean > MEANINGLESS:
        raise CellFailure(f"the mean loss on {text} is {mean:.0f} nats per token: the model is destroyed")
    return math.exp(mean)


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The negative log-likelihood in nats of `targets`, int64 [n], under `logits` [n, vocabulary]: float32 [n].

    A processor computes a few rows at a time, whose copies in float32 stay in its cache: whole windows take five times
    as long.
    """
    rows = max(1, IN_CACHE // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    parts = zip(logits.split(rows), targets.split(rows), strict=True)
    return torch.cat([nn.functional.cross_entropy(part.float(), right, reduction="none") for part, right in parts])


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
    means = []
    for window, hidden in zip(windows, torch.cat(activations.hidden), strict=True):
        # One window at a time: the logits are seqlen x vocabulary. Their means stay on the device until the end, so
        # that the next window does not wait for this one.
        logits = model.logits(window[None], hidden[None])[0, :-1]
        means.append(token_losses(logits, window[1:].to(logits.device)).mean())
    losses: list[float] = torch.stack(means).tolist()
    if not all(map(math.isfinite, losses)):
        reason = cause(model.tensors, activations.hidden[0].dtype)
        raise CellFailure(f"the loss is NaN or infinite on the text: {reason}")
    return losses
