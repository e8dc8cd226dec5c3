"""Text that a model writes itself, token by token: samples of its own distribution, as calibration text.

"Rethinking Pruning" (Shin et al., EMNLP 2024) calibrates block reconstruction with text that the dense model wrote, and
reports lower test errors than with text of a corpus.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prunebench.config.sources import Sampling
from prunebench.config.values import Compute
from prunebench.engine.cached import cache_of, going_on
from prunebench.engine.model import StreamedModel
from prunebench.errors import PrunebenchError
from prunebench.runtime.progress import track


def continued(
    directory: Path,
    family: str,
    storage: str,
    compute: Compute,
    sampling: Sampling,
    starts: Tensor,
    length: int,
    seed: int,
) -> Tensor:
    """The token ids `starts`, int64 [samples, given], with what the model in `directory` writes after them.

    The result is int64 [samples, length] on the CPU. `family` and `storage` are the words of specs. Each window has
    uniform numbers of its own, so that the batch size changes no more than the rounding of the model, and so that a
    larger number of samples begins with the same windows. Raises PrunebenchError if a logit is not a number.
    """
    streamed = StreamedModel.opened(directory, family, dtype=compute.dtype, storage=storage)
    streamed.check_length(length - 1)  # the model does not read the last token
    given = starts.shape[1]
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(starts), length - given, generator=generator, dtype=torch.float64)
    device, model = streamed.device, streamed.whole()
    batches = zip(starts.split(compute.batch_size), uniform.split(compute.batch_size), strict=True)
    count = -(-len(starts) // compute.batch_size)
    return (
        torch.cat([_write(model, device, sampling, *batch) for batch in track(list(batches), "batch")])
        if count
        else starts
    )


@torch.no_grad()
def _write(model: PreTrainedModel, device: torch.device, sampling: Sampling, starts: Tensor, uniform: Tensor) -> Tensor:
    """Continue `starts`, int64 [batch, given], by one token for each column of `uniform`, float64 [batch, new]."""
    windows, new, cache = starts, starts, None
    for column in uniform.unbind(1):
        output = model(input_ids=new.to(device), **going_on(model, cache))
        cache = cache_of(output)
        # The CPU adds up probabilities in one order. A GPU does not, and two runs would differ.
        new = drawn(output.logits[:, -1].cpu(), column, sampling)[:, None]
        windows = torch.cat([windows, new], dim=1)
    return windows


def drawn(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token, int64 [n], from each row of `logits` [n, vocabulary] by inversion of its distribution function.

    `uniform`, float64 [n] in [0, 1), says at which height the function is inverted. Probabilities are
    softmax(logits / temperature) in float64. `top_k` keeps the k most likely tokens, and those that are as likely as
    the last of them (Fan et al. 2018). `top_p` then keeps the fewest most likely tokens whose probabilities add up to
    at least p (Holtzman et al. 2020). Raises PrunebenchError if a logit is NaN or positive infinity.
    """
    scores = logits.double() / sampling.temperature
    if not bool((scores.logsumexp(1) < torch.inf).all()):
        raise PrunebenchError(
            "the model cannot write text, because it gives logits that are not finite: calibrate it with a corpus"
        )
    if sampling.top_k is not None and sampling.top_k < scores.shape[1]:
        least = scores.topk(sampling.top_k, dim=1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    probabilities = scores.softmax(1)
    if sampling.top_p is not None:
        sorted_, order = probabilities.sort(dim=1, descending=True, stable=True)
        beyond = sorted_.cumsum(1) - sorted_ >= sampling.top_p
        probabilities = probabilities.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), 0.0)
    heights = probabilities.cumsum(1)
    # The product is less than the last height, because `uniform` is at most 1 - 2^-53: there is always a token above.
    return torch.searchsorted(heights, uniform[:, None] * heights[:, -1:], right=True)[:, 0]
