"""Tests of the parts of training: its text, its tokens, and the baseline that a model has to beat."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tiny
from prunebench.assets.corpora import percentile
from prunebench.training.loop import rate
from prunebench.training.ngrams import Trigrams, unigram_losses
from prunebench.training.text import HELD_OUT, RUN, divide, runs
from prunebench.training.tokenizer import token_bytes, train_tokenizer

DOCUMENTS = tiny.make_text(500)


def test_held_out_documents_follow_from_their_text_alone() -> None:
    texts = divide(DOCUMENTS, [], seed=0)
    assert texts.held_out == [document for document in DOCUMENTS if percentile(document) < HELD_OUT]
    assert 2 <= len(texts.held_out) <= 25
    assert sorted([*texts.training, *texts.held_out]) == sorted(DOCUMENTS)
    assert texts.left_out == 0


def test_the_seed_decides_the_order_only() -> None:
    first, second = (divide(DOCUMENTS, [], seed) for seed in (0, 1))
    assert first == divide(DOCUMENTS, [], 0)
    assert first.training != second.training and sorted(first.training) == sorted(second.training)
    assert first.held_out == second.held_out


def test_nothing_that_shares_a_run_of_words_with_evaluated_text_is_trained_on() -> None:
    words = DOCUMENTS[3].split()
    unseen = [f"Before. {'  '.join(words[10 : 10 + RUN]).upper()}\nafter", "short  Text"]
    texts = divide([*DOCUMENTS, "Short text"], unseen, seed=0)
    assert {*DOCUMENTS, "Short text"} - {*texts.training, *texts.held_out} == {DOCUMENTS[3], "Short text"}
    assert texts.left_out == 2
    nearly = [" ".join(words[10 : 9 + RUN])]
    assert divide(DOCUMENTS, nearly, seed=0).left_out == 0


def test_training_text_shares_no_run_of_words_with_held_out_text_or_with_itself() -> None:
    held_out = next(document for document in DOCUMENTS if percentile(document) < HELD_OUT)
    trained = [document for document in DOCUMENTS if percentile(document) >= HELD_OUT]
    tail = " ".join(held_out.split()[-RUN:])
    copies = [f"{trained[0]} more", f"x {tail}"]
    copies = [copy for copy in copies if percentile(copy) >= HELD_OUT]
    texts = divide([*copies, *DOCUMENTS], [], seed=0)
    seen = Counter(run for document in (*texts.training, *texts.held_out) for run in runs(document))
    assert len(copies) == 2 and max(seen.values()) == 1
    assert texts.left_out == 2 and held_out in texts.held_out


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("a page of <pad> and </s> ends later")
def test_the_tokenizer_spells_every_text_and_knows_its_bytes(text: str) -> None:
    tokens = TOKENIZER(text)["input_ids"]
    assert TOKENIZER.decode(tokens) == text
    assert token_bytes(TOKENIZER)[tokens].sum() == len(text.encode())


TOKENIZER = train_tokenizer(DOCUMENTS, 320)


def test_a_tokenizer_has_the_size_that_was_asked_for_and_the_same_text_gives_the_same() -> None:
    assert len(TOKENIZER) == 320
    assert train_tokenizer(DOCUMENTS, 320).backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()


VOCABULARY = 7
STREAM = np.array(random.Random(0).choices(range(VOCABULARY - 1), weights=range(1, VOCABULARY), k=200))


def test_probabilities_of_ngrams_sum_to_one_after_every_context() -> None:
    trigrams = Trigrams(STREAM, VOCABULARY)
    every = np.arange(VOCABULARY)
    for first in every:
        for second in every:
            losses = trigrams.losses(np.tile([first, second], (VOCABULARY, 1)), every)
            assert np.exp(-losses).sum() == pytest.approx(1)
    assert np.exp(-unigram_losses(STREAM, every, VOCABULARY)).sum() == pytest.approx(1)


def kneser_ney(stream: list[int], vocabulary: int, context: tuple[int, ...], token: int) -> float:
    """The formula as it stands in the paper, by dictionaries."""

    def probability(context: tuple[int, ...]) -> float:
        trigrams = Counter(zip(stream, stream[1:], stream[2:], strict=False))
        counts: Counter[tuple[int, ...]] = Counter()
        if len(context) == 2:
            counts.update(trigrams)
        else:
            counts.update(longer[1:] for longer in {gram[-len(context) - 2 :] for gram in trigrams})
        lower = probability(context[1:]) if context else 1 / vocabulary
        following = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        if not following:
            return lower
        times = Counter(counts.values())
        discount = (times[1] + 1) / (times[1] + 1 + 2 * (times[2] + 1))
        total = sum(following.values())
        return max(following.get(token, 0) - discount, 0) / total + discount * len(following) / total * lower

    return probability(context)


def test_trigrams_are_those_of_the_formula() -> None:
    trigrams = Trigrams(STREAM, VOCABULARY)
    contexts = [(first, second) for first in range(VOCABULARY) for second in range(VOCABULARY)]
    for token in (0, 3, VOCABULARY - 1):
        losses = trigrams.losses(np.array(contexts), np.full(len(contexts), token))
        expected = [-math.log(kneser_ney(STREAM.tolist(), VOCABULARY, context, token)) for context in contexts]
        assert losses == pytest.approx(expected)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [rate(step, 100) for step in range(100)]
    assert max(rates) == rates[5] == 1 and 0 < rates[0] < 0.5 and 0 < rates[99] < 0.01
    assert rates[:6] == sorted(rates[:6]) and rates[5:] == sorted(rates[5:], reverse=True)
