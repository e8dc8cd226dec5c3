"""Products with packed matrices are those of float64, on every path: the kernel, expanded tiles, PyTorch alone."""

import copy
import pickle

import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.packed import kernels, linear
from prunebench.packed.linear import DenseLinear, PackedLinear
from prunebench.packed.matrix import PackedMatrix
from prunebench.storage.packing import pack_alone
from prunebench.storage.tensors import PackedParts

needs_kernel = pytest.mark.skipif(kernels.chosen().library is None, reason=kernels.chosen().why)
PATHS = [pytest.param(kernels.AUTO, marks=needs_kernel), kernels.PORTABLE]
SHAPES = ((1, 1), (1, 31), (2, 32), (3, 33), (5, 63), (8, 64), (7, 65), (4, 100), (33, 257), (64, 576))
DTYPES = [("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float16", "float16"), ("float32", "float32")]
"""The dtypes of values and of inputs."""
STEP = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2**-20}
"""The relative rounding of a result, with some room for sums."""


def matrix(shape: tuple[int, int], kind: str, dtype: torch.dtype) -> torch.Tensor:
    source = torch.Generator().manual_seed(sum(shape))
    weight = torch.randn(shape, generator=source)
    if kind != "all kept":
        weight[torch.rand(shape, generator=source) < 0.6] = 0
    if kind == "all zero":
        weight.zero_()
    if kind == "empty rows":
        weight[::2] = 0
    return weight.to(dtype)


def check(layer: PackedLinear | DenseLinear, weight: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None) -> None:
    with torch.no_grad():
        got = layer(x)
    expected = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert (got.shape, got.dtype) == (expected.shape, x.dtype)
    size = torch.nn.functional.linear(x.double().abs(), weight.double().abs()) + (0 if bias is None else bias.abs())
    # A result is rounded once; sums in float32 lose a little of the sum of magnitudes.
    allowed = STEP[x.dtype] * expected.abs() + 2**-18 * size + 1e-30
    if x.dtype != torch.float32:
        allowed = allowed + STEP[x.dtype] * size  # the library's product of a tile adds the bias after rounding
    assert ((got.double() - expected).abs() <= allowed).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["some", "all kept", "all zero", "empty rows"])
@pytest.mark.parametrize(
    "dtypes", [("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float16", "float16"), ("float32", "float32")]
)
def test_products(path: str, kind: str, dtypes: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, path)
    stored, computed = (getattr(torch, name) for name in dtypes)
    for shape in SHAPES:
        weight = matrix(shape, kind, stored)
        for bias in (None, torch.randn(shape[0]).to(computed)):
            layer = PackedLinear(PackedMatrix.of_dense(weight), None if bias is None else torch.nn.Parameter(bias))
            for batch in (1, 2, 7, 8, 9, 40):
                check(layer, weight, torch.randn(batch, shape[1]).to(computed), bias)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("group", [None, 32, 64])
def test_products_with_8_bits(path: str, group: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, path)
    for shape in SHAPES[4:]:
        weight = matrix(shape, "empty rows", torch.bfloat16)
        columns = group or 32 * -(-shape[1] // 32)
        parts = pack_alone("w", weight, columns)
        if "w" in parts:
            continue
        packed = PackedMatrix.of_parts(
            PackedParts(parts["w.mask"], parts["w.values"], parts["w.scales"], columns, shape[1], torch.float32)
        )
        rounded = packed.expanded()
        assert (rounded - weight.float()).abs().max() <= weight.float().abs().max() / 127 / 2 * 1.01
        for batch in (1, 8, 9):
            check(PackedLinear(packed), rounded, torch.randn(batch, shape[1]), None)


@pytest.mark.parametrize("path", PATHS)
def test_expanding_gives_every_bit(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, path)
    for shape in SHAPES:
        bits = torch.randint(-(2**15), 2**15, shape).to(torch.int16)
        bits[torch.rand(shape) < 0.5] = 0
        weight = bits.view(torch.bfloat16)
        packed = PackedMatrix.of_dense(weight)
        assert torch.equal(packed.expanded().view(torch.int16), bits)
        call = PackedLinear(packed)._kernel(torch.empty(1))
        if call is not None:
            out = torch.full_like(weight, 7.0)[shape[0] // 2 :].contiguous()
            call.expand(out, shape[0] // 2)
            assert torch.equal(out.view(torch.int16), bits[shape[0] // 2 :])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("large", [2000, 1 << 20])
def test_strides_batches_and_tiles(path: str, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, path)
    monkeypatch.setattr(linear, "SMALL_TILE", 1000)
    monkeypatch.setattr(linear, "LARGE_TILE", large)
    monkeypatch.setattr(linear, "MANY", 11)
    weight = matrix((33, 65), "some", torch.bfloat16)
    layer = PackedLinear(PackedMatrix.of_dense(weight))
    wide = torch.randn(4, 3, 130).bfloat16()
    for x in (wide[:, :, ::2], wide[:1, :1, ::2], wide[:2, 1, 65:], wide[0, 0, :65], wide[:0, :, :65]):
        check(layer, weight, x, None)
    check(layer, weight, wide[..., :65].transpose(0, 1), None)


@needs_kernel
def test_the_number_of_threads_changes_no_bit() -> None:
    weight = matrix((513, 257), "empty rows", torch.bfloat16)
    layer, before = PackedLinear(PackedMatrix.of_dense(weight)), torch.get_num_threads()
    x, results = torch.randn(3, 257).bfloat16(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            results.append(layer(x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@needs_kernel
def test_the_dense_control() -> None:
    for shape in SHAPES:
        weight, bias = matrix(shape, "all kept", torch.bfloat16), torch.randn(shape[0]).bfloat16()
        for batch in (1, 5, 9):
            layer = DenseLinear(weight, torch.nn.Parameter(bias))
            check(layer, weight, torch.randn(batch, shape[1]).bfloat16(), bias)


def test_gradients_flow_to_the_input() -> None:
    weight = matrix((8, 64), "some", torch.float32)
    x = torch.randn(2, 64, requires_grad=True)
    PackedLinear(PackedMatrix.of_dense(weight))(x).sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, weight.sum(dim=0).expand(2, -1), atol=1e-5)


def test_copies_and_conversions_keep_the_weights() -> None:
    weight = matrix((8, 64), "some", torch.bfloat16)
    layer = PackedLinear(PackedMatrix.of_dense(weight), torch.nn.Parameter(torch.ones(8).bfloat16()))
    x = torch.randn(1, 64).bfloat16()
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), expected)
    assert torch.equal(layer.float().matrix.expanded(), weight)
    with torch.no_grad():
        layer.bias.zero_()
    layer.load_state_dict({**layer.state_dict(), "bias": torch.full((8,), 2.0)})
    assert torch.allclose(layer(x.float()), torch.nn.functional.linear(x.float(), weight.float()) + 2, atol=1e-4)


def test_values_must_fit_the_mask() -> None:
    parts = pack_alone("w", matrix((8, 64), "some", torch.bfloat16))
    with pytest.raises(ValueError, match="places"):
        PackedMatrix.of_parts(PackedParts(parts["w.mask"], parts["w.values"][:-1], None, None, 64, torch.bfloat16))


def test_the_switch_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "fast")
    with pytest.raises(PrunebenchError, match="neither auto nor portable"):
        kernels.chosen()


def test_without_a_library_all_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(kernels, "__file__", f"{tmp_path}/kernels.py")
    kernels._chosen.cache_clear()
    try:
        assert kernels.chosen().library is None and "compiler" in kernels.chosen().why
        weight = matrix((3, 33), "some", torch.bfloat16)
        check(PackedLinear(PackedMatrix.of_dense(weight)), weight, torch.randn(1, 33).bfloat16(), None)
        (tmp_path / "_kernels.so").write_bytes(b"no library")  # type: ignore[operator]
        kernels._chosen.cache_clear()
        assert "cannot be loaded" in kernels.chosen().why
    finally:
        kernels._chosen.cache_clear()
