import pytest

from prunebench.runtime.digits import rounded, short
from prunebench.suites.metrics import Metric


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (12.344, "12.34"), (575.128, "575.13"), (1236.88, "1236.9"), (9999.96, "1.0e4"),
     (98532.28, "9.9e4"), (161793779.6, "1.6e8"), (-1236.88, "-1236.9"), (0.999999, "1.00"), (float("inf"), "inf"),
     (float("nan"), "nan")],
)  # fmt: skip
def test_a_perplexity_has_five_digits_until_the_model_has_collapsed(value: float, text: str) -> None:
    assert rounded(value, collapses=True) == Metric("perplexity", "Perplexity", log=True).number(value) == text


def test_other_numbers_are_written_out_as_long_as_they_can_be_read() -> None:
    assert [rounded(value) for value in (26_400.0, 123_456.7, 12_345_678.0)] == ["26400", "123457", "1.2e7"]
    assert rounded(0.41234, 4) == "0.4123" and short(3e-5) == "3e-5"


def test_a_spread_has_the_decimals_of_its_number() -> None:
    assert rounded(7.0711, beside=1237.0) == "7.1" and rounded(1234.5, collapses=True, beside=2e5) == "1.2e3"
