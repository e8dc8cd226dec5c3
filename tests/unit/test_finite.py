"""Whether tensors are finite: one bad value anywhere, in any dtype and memory order."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunebench.formulas.finite import are_finite, count_not_finite, is_finite

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
BAD = [math.nan, math.inf, -math.inf]


@given(
    dtype=st.sampled_from(DTYPES), bad=st.sampled_from(BAD), turned=st.booleans(), data=st.data(),
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
)  # fmt: skip
def test_one_bad_value_is_seen_wherever_it_is(
    dtype: torch.dtype, bad: float, turned: bool, shape: list[int], data: st.DataObject
) -> None:
    tensor = torch.linspace(-3, 3, math.prod(shape)).to(dtype).reshape(shape)
    tensor = tensor.transpose(0, -1) if turned else tensor
    assert is_finite(tensor)
    tensor[tuple(data.draw(st.integers(0, size - 1)) for size in tensor.shape)] = bad
    assert not is_finite(tensor)
    assert not are_finite([torch.ones(3), tensor, torch.ones(2, 2)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_are_finite_though_their_sum_is_not(dtype: torch.dtype) -> None:
    assert is_finite(torch.full((300, 70), torch.finfo(dtype).max, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_eight_bits_are_looked_at_too(dtype: torch.dtype) -> None:
    assert is_finite(torch.ones(5).to(dtype))
    tensor = torch.tensor([1.0, math.nan, 2.0]).to(dtype)
    assert not is_finite(tensor) and count_not_finite(tensor) == 1


def test_tensors_of_several_dtypes_or_without_values() -> None:
    assert are_finite([]) and are_finite([torch.empty(0, 4), torch.full((2,), 1e300, dtype=torch.float64)])
    assert are_finite(torch.ones(2, dtype=dtype) for dtype in DTYPES)
    assert not are_finite([torch.empty(0), torch.tensor(math.inf)])
