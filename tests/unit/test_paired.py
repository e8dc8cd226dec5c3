"""The paired bootstrap over windows, beside an exact enumeration and on text whose difference is known."""

import numpy as np
import pytest

from oracles.resampling import exact_mean_distribution
from prunebench.results.paired import LEVEL, interval

ERROR = 0.008
"""Five standard deviations of a share that is 0.025 in 9999 draws."""


@pytest.mark.parametrize("count", [2, 3, 5])
def test_ends_are_quantiles_of_all_resamples(count: int) -> None:
    mine, others = np.random.default_rng(count).gamma(2.0, size=(2, count))
    values, shares = exact_mean_distribution(mine - others)
    for end, level in zip(interval(mine, others), ((1 - LEVEL) / 2, (1 + LEVEL) / 2), strict=True):
        below = shares[values < end - 1e-12].sum()
        assert below <= level + ERROR
        assert level - ERROR <= below + shares[np.abs(values - end) <= 1e-12].sum()


def test_it_covers_the_true_difference_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    hard = random.normal(3.0, 1.0, size=(400, 60))
    mine, others = hard + random.normal(0.1, 0.2, size=hard.shape), hard + random.normal(0.0, 0.2, size=hard.shape)
    covered = np.mean([low <= 0.1 <= high for low, high in map(interval, mine, others)])
    # Of 60 windows a percentile interval is a little too short.
    assert 0.91 <= covered <= 0.97


def test_pairs_see_what_the_spread_over_windows_hides() -> None:
    hard = np.random.default_rng(0).normal(3.0, 1.0, size=50)
    low, high = interval(hard + 0.02 + 0.001 * np.sin(np.arange(50)), hard)
    assert 0.019 < low < 0.02 < high < 0.021


def test_equal_models_and_a_constant_shift_have_no_width() -> None:
    assert interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (0.0, 0.0)
    assert interval([1.5, 2.5], [1.0, 2.0]) == (0.5, 0.5)


def test_it_is_the_same_every_time_and_turns_with_the_order() -> None:
    mine, others = np.random.default_rng(1).normal(size=(2, 20))
    assert interval(mine, others) == interval(mine, others)
    low, high = interval(others, mine)
    assert (-high, -low) == pytest.approx(interval(mine, others), abs=0.02)


@pytest.mark.parametrize(("mine", "others"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_what_is_no_pair_of_windows_is_refused(mine: list[float], others: list[float]) -> None:
    with pytest.raises(ValueError, match="not two or more pairs"):
        interval(mine, others)
