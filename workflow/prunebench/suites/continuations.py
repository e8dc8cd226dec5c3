"""Log-likelihoods of continuations of prompts. A prompt that several of them share goes through the model once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prunebench.engine.cached import cache_of, going_on

Tokens = tuple[int, ...]
Pair = tuple[Tokens, Tokens]
"""A prompt, and a continuation of it without its last token, which is only predicted."""

SHORT = 128
"""The number of tokens of a sequence below which more than `batch_size` sequences run at a time."""
PASS = 64
"""The number of tokens that take about as long as all that a pass does once: 32 with SmolLM2-135M on one core, hundreds
with large models on a GPU. Batches move answers by rounding, so one number serves all models and machines."""


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
    `batch_size` sequences run at a time, or more short ones (see `_most`). A prompt has at least one token, a
    continuation at least one and at most `context`. A request that is longer than the context loses its first tokens,
    and log-probabilities have the dtype of the logits, as in lm-eval. The numbers are those of a pass over each whole
    sequence, up to rounding. `answered` is called after each batch, with the number of its requests.
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


def _batches(asked: Mapping[Tokens, Collection[Tokens]], size: int) -> list[list[Pair]]:
    """Divide all pairs into batches, the longest prompts first, so that the tokens of all passes are fewest.

    Padding counts, and each pass counts as PASS tokens. Pairs of one prompt stay together if they fit into a batch: see
    `_most`. Requests in another order give equal batches.
    """
    groups = list(_groups(asked, size))
    lengths = [max(map(_length, group)) for group in groups]
    least, starts = [0], [0]
    for end in range(1, len(groups) + 1):
        # Of all batches that could end with this group: the fewest tokens up to its end, and the group that begins it.
        options, rows, longest = [], 0, 0
        for start in range(end - 1, -1, -1):
            rows, longest = rows + len(groups[start]), max(longest, lengths[start])
            if rows > _most(longest, size):
                break
            shared = len(groups[end - 1][0][0]) - 1 if rows > end - start else 0
            tokens = (end - start) * shared + rows * (longest - shared) + PASS * (2 if shared else 1)
            options.append((least[start] + tokens, start))
        fewest, start = min(options)
        least.append(fewest)
        starts.append(start)
    batches, end = [], len(groups)
    while end:
        batches.append([pair for group in groups[starts[end] : end] for pair in group])
        end = starts[end]
    return batches[::-1]


def _groups(asked: Mapping[Tokens, Collection[Tokens]], size: int) -> Iterator[list[Pair]]:
    """Yield the pairs of each prompt, the longest prompts first, in as many lists as they need to fit into batches."""
    for prompt in sorted(asked, key=lambda tokens: (-len(tokens), tokens)):
        pairs = [(prompt, tail) for tail in sorted(asked[prompt])]
        most = _most(max(map(_length, pairs)), size)
        yield from (pairs[start : start + most] for start in range(0, len(pairs), most))


def _length(pair: Pair) -> int:
    return len(pair[0]) + len(pair[1])


def _most(longest: int, size: int) -> int:
    """The most sequences of a batch, the longest of which has `longest` tokens.

    Short ones are as many as have, with padding, the tokens of `size` sequences of SHORT tokens. So memory is bounded
    as for long ones, and a pass, which takes its time however short it is, has enough to do.
    """
    return max(size, size * SHORT // longest)


def _log_probabilities(model: Any, batch: Sequence[Pair]) -> Iterator[Tensor]:
    """Yield the log-probabilities [len(tail) + 1, vocabulary] of each pair, from the last token of its prompt on.

    What the prompts have in common in length goes through the model once per prompt, and its keys and values are used
    for all tails. Nothing needs a mask: prompts are cut to equal lengths, and padding stands behind the last token.
    """
    prompts = list(dict.fromkeys(prompt for prompt, _ in batch))
    shared = min(map(len, prompts)) - 1 if len(prompts) < len(batch) else 0
    cache = None
    if shared:
        cache = cache_of(_run(model, [prompt[:shared] for prompt in prompts], None, []))
        cache.batch_select_indices(torch.tensor([prompts.index(prompt) for prompt, _ in batch], device=model.device))
    rows = [(*prompt[shared:], *tail) for prompt, tail in batch]
    places = [
        (row, len(prompt) - 1 - shared + step)
        for row, (prompt, tail) in enumerate(batch)
        for step in range(len(tail) + 1)
    ]
    logits = _run(model, rows, cache, places).logits[0]
    for predicted in logits.split([len(tail) + 1 for _, tail in batch]):
        yield predicted.log_softmax(dim=-1)


def _run(model: Any, rows: Sequence[Tokens], cache: Any, places: Sequence[tuple[int, int]]) -> Any:
    """Run rows of token ids, padded on the right, after `cache`; its logits are those of `places` (see `_only`)."""
    longest = max(map(len, rows))
    ids = torch.tensor([(*row, *[0] * (longest - len(row))) for row in rows], device=model.device)
    with _only(places, model.get_output_embeddings()):
        return model(input_ids=ids, **going_on(model, cache))


@contextmanager
def _only(places: Sequence[tuple[int, int]], head: nn.Module) -> Iterator[None]:
    """Let `head` compute logits [1, len(places), vocabulary] of the tokens at these (row, position) alone.

    The argument `logits_to_keep`, which not all architectures have, would also compute those of padding.
    """

    def select(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        rows, positions = torch.tensor(places, dtype=torch.long, device=inputs[0].device).reshape(-1, 2).unbind(dim=1)
        return (inputs[0][rows, positions][None], *inputs[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
