"""A device against the CPU: the same numbers within rounding, the same choices where there is nothing to round."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tiny
from contract.test_methods import PRUNING, prune
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import SiteStatistic
from prunebench.formulas import masks
from prunebench.formulas.finite import is_finite
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.methods.wanda import Wanda
from prunebench.packed.load import load_packed
from prunebench.packed.semi_structured import SemiStructuredLinear, semi_structured
from prunebench.patterns import UNSTRUCTURED
from prunebench.registry import load
from prunebench.standalone.export import repack
from prunebench.storage.packed import Packing


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("values", [3, 1000])
def test_selection_is_the_same_with_all_its_ties(rows: int, values: int) -> None:
    scores = torch.randint(values, (rows, 999)).double()
    for count in (0, 1, 500, 999):
        assert torch.equal(masks.lowest(scores.to(tiny.DEVICE), count).cpu(), masks.lowest(scores, count))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_statistics_are_the_same(dtype: torch.dtype) -> None:
    x = torch.randn(700, 600).to(dtype)
    host, device = SiteStatistic(), SiteStatistic()
    for chunk in x.split(400):
        host.add(chunk, {Stat.SITE_NORM, Stat.HESSIAN})
        device.add(chunk.to(tiny.DEVICE), {Stat.SITE_NORM, Stat.HESSIAN})
    torch.testing.assert_close(device.squared_norm.cpu(), host.squared_norm, rtol=1e-12, atol=0)
    scale = host.squared_norm.mean().item()
    torch.testing.assert_close(device.hessian.cpu(), host.hessian, rtol=0, atol=2e-6 * scale)
    exact = x.double().T @ x.double()
    assert (device.hessian.cpu() - exact).abs().max() < 2e-6 * scale, "products were rounded, or done in TF32"


@pytest.mark.parametrize(("solve_dtype", "digits"), [("float64", 1e-8), ("float32", 1e-4)])
def test_sparsegpt_is_the_same_given_the_same_statistics(solve_dtype: str, digits: float) -> None:
    method = SparseGPT(SparseGPT.configure(overrides={"solve_dtype": solve_dtype}))
    statistic, copy = SiteStatistic(), SiteStatistic()
    x = torch.randn(900, 300) @ torch.randn(300, 300)
    statistic.add(x, {Stat.HESSIAN})
    copy._hessian = statistic.hessian.to(tiny.DEVICE)
    weights = {"a": torch.randn(80, 300), "b": torch.randn(40, 300)}
    wanted = dict.fromkeys(weights, 0.5)
    host = method.prune_site(weights, statistic, wanted, UNSTRUCTURED)
    device = method.prune_site({k: w.to(tiny.DEVICE) for k, w in weights.items()}, copy, wanted, UNSTRUCTURED)
    for name in weights:
        assert torch.equal(device[name].weight.cpu() == 0, host[name].weight == 0)
        torch.testing.assert_close(device[name].weight.cpu(), host[name].weight, rtol=digits, atol=digits)


@pytest.mark.parametrize("method", sorted({*PRUNING} - {"besa"}))
def test_a_whole_run_is_the_same(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = "llama", tiny.make_model(tmp_path / "model", blocks=1, hidden_size=64, intermediate_size=96)
    plugin = load("methods", method)
    device, _ = prune(model, plugin(), "unstructured", 0.5, tmp_path / "device", torch.float32)
    monkeypatch.setattr(tiny, "DEVICE", "cpu")
    host, _ = prune(model, plugin(), "unstructured", 0.5, tmp_path / "cpu", torch.float32)
    same = torch.cat([((device[name] == 0) == (host[name] == 0)).flatten() for name in host]).float().mean()
    # Inputs that differ in the seventh digit may swap two weights with nearly equal scores.
    assert same >= (0.999 if plugin.needs else 1)
    for name in host:
        kept = (device[name] != 0) & (host[name] != 0)
        if method == "alps":  # its search lets the other weights of a row make up for a swap
            kept &= ((device[name] == 0) == (host[name] == 0)).all(dim=1, keepdim=True)
        torch.testing.assert_close(device[name][kept], host[name][kept], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_seen(value: float, dtype: torch.dtype) -> None:
    for shape, place in (((3,), 1), ((70, 300), 0), ((70, 300), 20999), ((2, 500, 64), 40000)):
        tensor = torch.ones(shape, dtype=dtype, device=tiny.DEVICE)
        assert is_finite(tensor)
        tensor.view(-1)[place] = value
        assert not is_finite(tensor)


def test_wanda_masks_are_the_same_given_the_same_statistics() -> None:
    weight = torch.randn(64, 512).to(torch.bfloat16)
    host, device = SiteStatistic(), SiteStatistic()
    host._squared_norm = torch.rand(512, dtype=torch.float64)
    device._squared_norm = host.squared_norm.to(tiny.DEVICE)
    expected = Wanda().mask(weight, host, 0.5, UNSTRUCTURED)
    assert torch.equal(Wanda().mask(weight.to(tiny.DEVICE), device, 0.5, UNSTRUCTURED).cpu(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_semi_structured_weights_give_the_dense_product_where_the_device_has_them(
    dtype: torch.dtype, rows: int
) -> None:
    weight = torch.randn(128, 256).reshape(-1, 4)
    weight[:, 2:] = 0
    weight = weight.reshape(128, 256).to(tiny.DEVICE, dtype)
    sparse = semi_structured(weight)
    if sparse is None:
        return  # the device has no such format for this dtype
    x = torch.randn(rows, 256).to(tiny.DEVICE, dtype)
    product = SemiStructuredLinear(sparse, None)(x).double().cpu()
    expected = x.double().cpu() @ weight.double().cpu().T
    assert (product - expected).abs().max() < 2e-2 * expected.abs().max()


def test_other_weights_stay_dense() -> None:
    assert semi_structured(torch.randn(128, 256).to(tiny.DEVICE, torch.bfloat16)) is None
    assert semi_structured(torch.zeros(7, 6).to(tiny.DEVICE, torch.bfloat16)) is None


@pytest.mark.parametrize("pattern", ["unstructured", "2of4"])
def test_a_packed_model_is_the_dense_one(pattern: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    tensors = load_file(directory / "model.safetensors")
    for name, tensor in tensors.items():
        if "proj" in name:
            tensor[:, 2::4] = 0
            tensor[:, (3 if pattern == "2of4" else 2) :: 4] = 0
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    repack(directory, tmp_path / "packed", Packing())
    tokens = tiny.tokens(2, 6)
    oracle, plain = (_logits(AutoModelForCausalLM.from_pretrained(directory, dtype=d), tokens) for d in DTYPES)
    logits = _logits(load_packed(tmp_path / "packed", device=tiny.DEVICE), tokens.to(tiny.DEVICE))
    assert (logits - oracle).abs().max() <= 2 * (plain - oracle).abs().max() + 1e-3 * oracle.abs().max()


DTYPES = (torch.float32, torch.bfloat16)


def _logits(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens).logits.double().cpu()
