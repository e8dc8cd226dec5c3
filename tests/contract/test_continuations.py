"""Log-likelihoods with shared prompts are those of one pass over each whole sequence."""

from itertools import combinations, pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

import tiny
from prunebench.suites.continuations import PASS, SHORT, Pair, _batches, log_likelihoods

CONTEXT = 40
Request = tuple[list[int], list[int]]


def plain(model: torch.nn.Module, prompt: list[int], continuation: list[int]) -> tuple[float, bool]:
    """From the formula: the sum of log-probabilities of a sequence by itself."""
    tokens = (prompt + continuation)[-CONTEXT - 1 :]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens[:-1]], device=tiny.DEVICE)).logits[0].double().cpu()
    total, greedy = 0.0, True
    for place in range(len(tokens) - len(continuation), len(tokens)):
        predicted = logits[place - 1].log_softmax(0)
        total += float(predicted[tokens[place]])
        greedy &= int(predicted.argmax()) == tokens[place]
    return total, greedy


def requests(random: Random) -> list[Request]:
    """Prompts of 1 to 60 tokens with 1 to 4 continuations of 1 to 6, some of which begin alike or are there twice."""

    def some(least: int, most: int) -> list[int]:
        return [random.randrange(tiny.VOCABULARY) for _ in range(random.randint(least, most))]

    asked: list[Request] = []
    for _ in range(12):
        prompt, first = some(1, 60), some(1, 6)
        choices = [first, [*first[:-1], *some(1, 1)], *(some(1, 6) for _ in range(random.randint(0, 2)))]
        asked += [(prompt, choice) for choice in choices[: random.randint(1, 4)]]
    asked.append(asked[3])
    random.shuffle(asked)
    return asked


CASES = [*((name, 3) for name in tiny.ARCHITECTURES), ("llama", 1), ("llama", 8)]


@pytest.mark.parametrize(("name", "batch_size"), CASES)
def test_each_answer_is_that_of_the_sequence_by_itself(name: str, batch_size: int, tmp_path: Path) -> None:
    compare(name, batch_size, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", tiny.MORE_ARCHITECTURES)
def test_each_answer_is_that_of_the_sequence_by_itself_everywhere(name: str, tmp_path: Path) -> None:
    compare(name, 4, tmp_path)


def compare(name: str, batch_size: int, directory: Path) -> None:
    model = tiny.open_model(tiny.make_model(directory, name), name, torch.float32).whole()
    asked = requests(Random(batch_size))
    answers = log_likelihoods(model, asked, batch_size=batch_size, context=CONTEXT)
    expected = [plain(model, *request) for request in asked]
    assert [answer[0] for answer in answers] == pytest.approx([answer[0] for answer in expected], rel=1e-5, abs=1e-4)
    assert [answer[1] for answer in answers] == [answer[1] for answer in expected]


def test_a_greedy_continuation_is_told(tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path), "llama", torch.float32).whole()
    prompt = [5, 6, 7, 8]
    grown = list(prompt)
    for _ in range(3):
        with torch.no_grad():
            grown.append(int(model(input_ids=torch.tensor([grown], device=tiny.DEVICE)).logits[0, -1].argmax()))
    greedy = grown[4:]
    others = [[*greedy[:2], (greedy[2] + 1) % tiny.VOCABULARY], [(greedy[0] + 1) % tiny.VOCABULARY, *greedy[1:]]]
    answers = log_likelihoods(model, [(prompt, choice) for choice in (greedy, *others)], batch_size=4, context=CONTEXT)
    assert [told for _, told in answers] == [True, False, False]


def test_choices_share_the_pass_over_their_prompt(tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path), "llama", torch.float32).whole()
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, __, given: seen.append(given["input_ids"].numel()), with_kwargs=True)
    log_likelihoods(
        model, [([*range(30)], [1, 2]), ([*range(30)], [3, 4]), ([*range(30)], [5])], batch_size=4, context=64
    )
    # 29 tokens once, then the last one with each of the three tails (of one token, one, and none).
    assert seen == [29, 6]


def test_logits_are_computed_for_predicted_tokens_only(tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path), "llama", torch.float32).whole()
    head: nn.Module = model.get_output_embeddings()
    seen: list[int] = []
    head.register_forward_hook(lambda _, __, logits: seen.append(logits.shape[:-1].numel()))
    log_likelihoods(model, [([*range(30)], [1, 2]), ([*range(9)], [3, 4, 5])], batch_size=4, context=64)
    assert seen == [5]
    log_likelihoods(model, [([*range(30)], [1, 2]), ([*range(30)], [3, 4, 5])], batch_size=4, context=64)
    assert seen[1:] == [0, 5]  # of the prompt, keys and values alone are needed


def asked_of(random: Random, prompts: int, most: int) -> dict[tuple[int, ...], dict[tuple[int, ...], list[int]]]:
    """Prompts of up to `most` tokens, each with one to four continuations of up to six tokens."""

    def some(least: int, most: int) -> tuple[int, ...]:
        return tuple(random.randrange(50) for _ in range(random.randint(least, most)))

    return {some(1, most): {some(0, 6): [] for _ in range(random.randint(1, 4))} for _ in range(prompts)}


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("most", [10, 60, 400])
def test_a_batch_has_no_more_tokens_than_the_batch_size_allows(size: int, most: int) -> None:
    random = Random(size + most)
    asked = asked_of(random, 60, most)
    asked[1, 2, 3] = {(first, second): [] for first in range(20) for second in range(30)}
    batches = _batches(asked, size)
    pairs = [pair for batch in batches for pair in batch]
    assert sorted(pairs) == sorted((prompt, tail) for prompt, tails in asked.items() for tail in tails)
    for batch in batches:
        longest = max(len(prompt) + len(tail) for prompt, tail in batch)
        assert len(batch) <= size or len(batch) * longest <= size * SHORT
    assert all(len(before[-1][0]) >= len(after[0][0]) for before, after in pairwise(batches))
    mixed = [(prompt, random.sample(list(tails), len(tails))) for prompt, tails in asked.items()]
    random.shuffle(mixed)
    assert _batches(dict(mixed), size) == batches


def tokens_of(batches: list[list[Pair]]) -> int:
    """From the rule: all tokens that go through the model, with padding, and PASS more for each pass."""
    total = 0
    for batch in batches:
        prompts = {prompt for prompt, _ in batch}
        longest = max(len(prompt) + len(tail) for prompt, tail in batch)
        shared = min(map(len, prompts)) - 1 if len(prompts) < len(batch) else 0
        total += len(prompts) * shared + len(batch) * (longest - shared) + PASS * (1 + bool(shared))
    return total


@pytest.mark.parametrize("seed", range(6))
def test_no_other_division_into_batches_has_fewer_tokens(seed: int) -> None:
    asked = asked_of(Random(seed), 8, 90)
    groups = [
        [(prompt, tail) for tail in asked[prompt]]
        for prompt in sorted(asked, key=lambda tokens: (-len(tokens), tokens))
    ]
    costs = []
    for number in range(len(groups)):
        for cuts in combinations(range(1, len(groups)), number):
            parts = [groups[start:end] for start, end in pairwise([0, *cuts, len(groups)])]
            batches = [[pair for group in part for pair in group] for part in parts]
            lengths = [max(len(prompt) + len(tail) for prompt, tail in batch) for batch in batches]
            if all(len(b) <= 4 or len(b) * longest <= 4 * SHORT for b, longest in zip(batches, lengths, strict=True)):
                costs.append(tokens_of(batches))
    assert tokens_of(_batches(asked, 4)) == min(costs)
