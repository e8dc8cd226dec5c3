"""How a search proposes: on a space whose optimum is known, with a judge that counts."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.search.strategies import STRATEGIES, Evolution, Grid, RandomDraws, Scored, Spent


class Words:
    """Words of eight letters a to h; the fewer differ from `target`, the better."""

    letters, length = "abcdefgh", 8
    target = "hgfedcba"

    def draw(self, rng: random.Random) -> str:
        return "".join(rng.choices(self.letters, k=self.length))

    def mutate(self, word: str, rng: random.Random) -> str:
        place = rng.randrange(self.length)
        return word[:place] + rng.choice(self.letters) + word[place + 1 :]

    def cross(self, one: str, other: str, rng: random.Random) -> str:
        return "".join(rng.choice(pair) for pair in zip(one, other, strict=True))

    def every(self) -> Iterable[str]:
        return list(self.letters)

    def worth(self, word: str) -> float:
        return sum(a != b for a, b in zip(word, self.target, strict=True))


class Counting:
    """Values words, at most `budget` different ones; words that begin with 'a' are invalid."""

    def __init__(self, budget: int) -> None:
        self.budget, self.proposed = budget, []
        self.values: dict[str, float] = {}

    def __call__(self, word: str) -> Scored | None:
        if len(self.values) >= self.budget:
            raise Spent("budget")
        self.proposed.append(word)
        if word.startswith("a"):
            return None
        self.values.setdefault(word, Words().worth(word) if len(word) == Words.length else 0.0)
        return Scored(self.values[word], word, word)


def proposals(strategy: Evolution | RandomDraws, seed: int, budget: int = 300) -> Counting:
    judge = Counting(budget)
    with pytest.raises(Spent):
        strategy.run(Words(), judge, random.Random(seed))
    return judge


@pytest.mark.parametrize("strategy", [Evolution(), RandomDraws()])
def test_the_same_seed_proposes_the_same(strategy: Evolution | RandomDraws) -> None:
    first, again, other = (proposals(strategy, seed).proposed for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("seed", range(5))
def test_evolution_finds_what_random_draws_do_not(seed: int) -> None:
    evolved, drawn = (min(proposals(strategy, seed).values.values()) for strategy in (Evolution(), RandomDraws()))
    assert evolved <= 1 < drawn


def test_evolution_starts_with_a_population_of_draws_and_goes_on_with_two_children_at_a_time() -> None:
    judge = proposals(Evolution(population=6, parents=3), seed=0, budget=40)
    draws = random.Random(0)
    start = []
    while len(start) < 6:
        word = Words().draw(draws)
        start += [] if word.startswith("a") else [word]
    assert [word for word in judge.proposed if not word.startswith("a")][:6] == start
    # The first round, from the same random numbers.
    living = sorted(start, key=Words().worth)
    best = sorted(draws.sample(living, round(0.9 * 6)), key=Words().worth)[:3]
    parent = draws.choice(best)
    partner = draws.choice([word for word in best if word != parent])
    children = [Words().mutate(parent, draws), Words().cross(parent, partner, draws)]
    first = len(judge.proposed) - judge.proposed[::-1].index(start[-1])
    assert judge.proposed[first : first + 2] == children


@given(population=st.integers(1, 6), ratio=st.floats(0.05, 1), parents=st.integers(1, 8), seed=st.integers(0, 99))
def test_any_sizes_of_the_evolution_work(population: int, ratio: float, parents: int, seed: int) -> None:
    judge = proposals(Evolution(population, ratio, parents), seed, budget=30)
    assert len(judge.values) == 30


def test_a_grid_proposes_everything_once_and_ends_by_itself() -> None:
    judge = Counting(100)
    Grid().run(Words(), judge, random.Random(0))
    assert judge.proposed == list(Words.letters)


def test_the_config_knows_all_strategies() -> None:
    from prunebench.config.entries import SearchEntry

    choices = SearchEntry.model_fields["strategy"].annotation
    assert set(STRATEGIES) == set(choices.__args__)
