"""Log-likelihoods of continuations of prompts. A prompt that several of them share goes through the model once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prunebench.engine.cached import cache_of, going_on

Tokens = tuple[int, ...]
Pair = tuple[Tokens, Tokens]
"""A prompt, and a continuation of it without its last token, which is only predicted."""


@torch.no_grad()
def log_likelihoods(
    model: Any,
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_size: int,
    context: int,
    answered: Callable[[int], None] = lambda _: None,
) -> list[tuple[float, bool]]:
    """For each (prompt, continuation) the log-likelihood of the continuation, and whether it is the greedy one.

    `model` is a causal model of transformers that is in memory, with a context of `context` tokens. At most
    `batch_size` sequences run at a time. A prompt has at least one token, a continuation at least one and at most
    `context`. A request that is longer than the context loses its first tokens, and log-probabilities have the dtype of
    the logits, as in lm-eval. The numbers are those of a pass over each whole sequence, up to rounding. `answered` is
    called after each batch, with the number of its requests.
    """
    kept = [((*prompt, *continuation)[-context - 1 :], len(continuation)) for prompt, continuation in requests]
    pairs = [(sequence[:-length], sequence[-length:]) for sequence, length in kept]
    asked: dict[Tokens, dict[Tokens, list[int]]] = {}
    for number, (prompt, continuation) in enumerate(pairs):
        asked.setdefault(prompt, {}).setdefault(continuation[:-1], []).append(number)
    answers: dict[int, tuple[float, bool]] = {}
    for batch in _batches(asked, batch_size):
        for (prompt, tail), predicted in zip(batch, _log_probabilities(model, batch), strict=True):
            greedy = predicted.float().argmax(dim=-1)  # exact, and on a CPU five times as fast as in half precision
            for number in asked[prompt][tail]:
                tokens = torch.tensor(pairs[number][1], device=predicted.device)
                likelihood = predicted.gather(1, tokens[:, None]).sum()
                answers[number] = float(likelihood), bool((greedy == tokens).all())
        answered(sum(len(asked[prompt][tail]) for prompt, tail in batch))
    return [answers[number] for number in range(len(requests))]


def _batches(asked: Mapping[Tokens, Collection[Tokens]], size: int) -> Iterator[list[Pair]]:
    """Yield lists of at most `size` pairs, the longest prompts first. Pairs of one prompt stay together if they fit."""
    batch: list[Pair] = []
    for prompt in sorted(asked, key=lambda tokens: (-len(tokens), tokens)):
        if len(batch) + len(asked[prompt]) > size and batch:
            yield batch
            batch = []
        for tail in asked[prompt]:
            if len(batch) == size:
                yield batch
                batch = []
            batch.append((prompt, tail))
    if batch:
        yield batch


def _log_probabilities(model: Any, batch: Sequence[Pair]) -> Iterator[Tensor]:
    """Yield the log-probabilities [len(tail) + 1, vocabulary] of each pair, from the last token of its prompt on.

    What the prompts have in common in length goes through the model once per prompt, and its keys and values are used
    for all tails. Nothing needs a mask: prompts are cut to equal lengths, and padding stands behind the last token.
    """
    prompts = list(dict.fromkeys(prompt for prompt, _ in batch))
    shared = min(map(len, prompts)) - 1 if len(prompts) < len(batch) else 0
    cache = None
    if shared:
        cache = cache_of(_run(model, [prompt[:shared] for prompt in prompts], None, 1))
        cache.batch_select_indices(torch.tensor([prompts.index(prompt) for prompt, _ in batch], device=model.device))
    rows = [(*prompt[shared:], *tail) for prompt, tail in batch]
    first = min(map(len, prompts)) - 1 - shared
    logits = _run(model, rows, cache, max(map(len, rows)) - first).logits
    for predicted, (prompt, tail) in zip(logits, batch, strict=True):
        start = len(prompt) - 1 - shared - first
        yield predicted[start : start + len(tail) + 1].log_softmax(dim=-1)


def _run(model: Any, rows: Sequence[Tokens], cache: Any, last: int) -> Any:
    """Run rows of token ids, padded on the right, after `cache`; the output has the logits of the `last` tokens."""
    longest = max(map(len, rows))
    ids = torch.tensor([(*row, *[0] * (longest - len(row))) for row in rows], device=model.device)
    # Not all architectures can leave out logits.
    can_leave_out = "logits_to_keep" in inspect.signature(model.forward).parameters
    with _contiguous(model.get_output_embeddings()):
        output = model(input_ids=ids, **going_on(model, cache), **({"logits_to_keep": last} if can_leave_out else {}))
    output.logits = output.logits[:, -last:]
    return output


@contextmanager
def _contiguous(head: nn.Module) -> Iterator[None]:
    """Let `head` copy its inputs: torch would copy its weights once for each row of a slice of hidden states."""
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()
