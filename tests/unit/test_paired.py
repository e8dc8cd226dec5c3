"""Paired intervals over windows, beside resamples and printed tables, and on text whose difference is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from prunebench.results.paired import interval


def students(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval; the 97.5% points of t are from a printed table."""
    point = {1: 12.706, 2: 4.303, 4: 2.776, 199: 1.972}[len(differences) - 1]
    middle, reach = differences.mean(), point * differences.std(ddof=1) / len(differences) ** 0.5
    return float(middle - reach), float(middle + reach)


def test_a_skewed_sample_has_the_quantiles_of_resamples_where_these_lie_further_out() -> None:
    random = np.random.default_rng(5)
    differences = random.lognormal(0.0, 2.0, size=200)
    means = differences[random.integers(0, 200, size=(20000, 200))].mean(axis=1)
    low, high = interval(differences, np.zeros(200))
    assert low == pytest.approx(students(differences)[0], rel=1e-3)
    assert high == pytest.approx(np.quantile(means, 0.975), rel=0.01)
    assert high > 1.01 * students(differences)[1]


@pytest.mark.parametrize("count", [2, 3, 5, 200])
def test_few_windows_have_the_interval_of_student(count: int) -> None:
    one, others = np.random.default_rng(count).normal(2.0, size=(2, count))
    low, high = students(one - others)
    assert interval(one, others) == pytest.approx((low, high), rel=0.01, abs=0.01 * (high - low))


@pytest.mark.parametrize("count", [3, 8, 60])
def test_it_covers_the_true_difference_as_often_as_it_says(count: int) -> None:
    random = np.random.default_rng(7)
    hard = random.normal(3.0, 1.0, size=(400, count))
    one, others = hard + random.normal(0.1, 0.2, size=hard.shape), hard + random.normal(0.0, 0.2, size=hard.shape)
    covered = np.mean([low <= 0.1 <= high for low, high in map(interval, one, others)])
    assert 0.92 <= covered <= 0.98


def test_pairs_see_what_the_spread_over_windows_hides() -> None:
    hard = np.random.default_rng(0).normal(3.0, 1.0, size=50)
    low, high = interval(hard + 0.02 + 0.001 * np.sin(np.arange(50)), hard)
    assert 0.019 < low < 0.02 < high < 0.021


def test_equal_models_and_a_constant_shift_have_no_width() -> None:
    assert interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (0.0, 0.0)
    assert interval([1.5, 2.5], [1.0, 2.0]) == (0.5, 0.5)


def test_it_is_the_same_every_time_and_turns_with_the_order() -> None:
    one, others = np.random.default_rng(1).normal(size=(2, 20))
    assert interval(one, others) == interval(one, others)
    low, high = interval(others, one)
    assert (-high, -low) == pytest.approx(interval(one, others), abs=0.02)


@pytest.mark.parametrize(("one", "others"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_what_is_no_pair_of_windows_is_refused(one: list[float], others: list[float]) -> None:
    with pytest.raises(ValueError, match="not two or more pairs"):
        interval(one, others)
