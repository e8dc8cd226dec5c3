"""Log-likelihoods with shared prompts are those of one pass over each whole sequence."""

from pathlib import Path
from random import Random

import pytest
import torch

import tiny
from prunebench.suites.continuations import log_likelihoods

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
