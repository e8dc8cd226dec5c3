"""Packing a tensor and unpacking it gives its bits back, and takes the space that its zeros leave."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunebench.storage.packing import bitmask, pack, unpack

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SHAPES = ((1, 1), (3, 7), (5, 8), (2, 9), (4, 64), (3, 2, 13))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.element_size()])


def roundtrip(tensor: torch.Tensor, base: torch.Tensor) -> set[str]:
    """Assert that the bits survive, and return the kinds of parts."""
    parts = pack("w", tensor, {"w": base})
    back = unpack("w", parts, base)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(bits(back), bits(tensor))
    return {part.removeprefix("w") for part in parts}


@st.composite
def pruned(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """(any tensor without -0, an unpruned one of its shape): random bits and zeros, whole rows of zeros too."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SHAPES))
    source = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    integer = {2: torch.int16, 4: torch.int32}[dtype.itemsize]
    limits = torch.iinfo(integer)
    base = torch.randint(limits.min, limits.max, shape, generator=source, dtype=integer).view(dtype)
    changed = base if draw(st.booleans()) else torch.randn(shape, generator=source).to(dtype)
    gone = torch.rand(shape, generator=source) < draw(st.sampled_from((0.0, 0.3, 0.7, 1.0)))
    gone[draw(st.integers(0, shape[0] - 1))] |= draw(st.booleans())
    return changed.masked_fill(gone | (changed == 0), 0), base


@given(pruned())
def test_bits_survive(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    roundtrip(*case)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_smallest_form_is_chosen(dtype: torch.dtype) -> None:
    base = torch.randn(16, 24).to(dtype)
    gone = torch.rand(16, 24) < 0.5
    assert roundtrip(base.masked_fill(gone, 0), base) == {".mask"}
    assert roundtrip((base * 2).masked_fill(gone, 0), base) == {".mask", ".values"}
    assert roundtrip(torch.zeros_like(base), base) == {".mask"}
    assert roundtrip(base * 2, base) == {""}
    assert roundtrip(base[0], base[0]) == {""}


def test_nothing_of_the_base_leaks_into_pruned_places() -> None:
    base = torch.full((2, 8), torch.nan)
    assert roundtrip(torch.zeros(2, 8), base) == {".mask"}


def test_minus_zero_counts_as_zero() -> None:
    (mask,) = pack("w", torch.tensor([[-0.0, 1.0]]), {"w": torch.tensor([[5.0, 1.0]])}).values()
    assert mask.tolist() == [[0b01000000]]


@pytest.mark.parametrize("sparsity", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_size_is_one_bit_per_weight_and_the_values_kept(dtype: torch.dtype, sparsity: float) -> None:
    weight = torch.randn(128, 512).to(dtype)
    weight[:, : int(512 * sparsity)] = 0
    nnz = int(weight.count_nonzero())
    packed = pack("w", weight, {"w": torch.zeros_like(weight)})
    assert sum(part.nbytes for part in packed.values()) == weight.numel() // 8 + nnz * dtype.itemsize
    assert bitmask(weight).nbytes == weight.numel() // 8


def test_bits_are_numpys() -> None:
    weight = torch.randn(3, 11).relu()
    assert np.array_equal(np.unpackbits(bitmask(weight).numpy(), axis=1, count=11), (weight != 0).numpy())


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("shape", [(4, 24), (5, 16), (4, 4), (64,)])
def test_a_base_of_another_shape_is_refused(shape: tuple[int, ...], factor: int) -> None:
    base = torch.randn(4, 16)
    weight = (base * factor).masked_fill(torch.rand(4, 16) < 0.5, 0)
    with pytest.raises(ValueError, match="does not belong to shape"):
        unpack("w", pack("w", weight, {"w": base}), torch.zeros(shape))


def test_values_that_do_not_fit_their_mask_are_refused() -> None:
    base = torch.randn(4, 16)
    parts = pack("w", (base * 2).masked_fill(base < 0, 0), {"w": base})
    with pytest.raises(ValueError, match="values for"):
        unpack("w", parts | {"w.values": parts["w.values"][1:]}, base)
