"""Every method passes these tests. A new file in methods/ is tested without a change here."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from prunebench.cell import Cell
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.contract import Method
from prunebench.engine.gradients import calibration_gradients
from prunebench.engine.loop import prune_model
from prunebench.patterns import parse_pattern
from prunebench.registry import load, ready
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import PackedStore, TensorStore

METHODS = ready("methods")
PRUNING = [name for name in METHODS if "pattern" in load("methods", name).uses]
POINTS = [
    ("unstructured", 0.5),
    ("unstructured", 0.7),
    ("unstructured", 0.0),
    ("2of4", 0.5),
    ("1of4", 0.75),
    ("4of8", 0.5),
]


QUICK: dict[str, dict[str, Any]] = {"reconstruct": {"epochs": 1}}
"""Parameters that make slow methods quick, where a test does not depend on them."""


def quick(name: str) -> Method:
    """The method with its default parameters, but for QUICK."""
    plugin = load("methods", name)
    method: Method = plugin(plugin.configure(overrides=QUICK.get(name, {})))
    return method


def supports(name: str, pattern: str, sparsity: float) -> bool:
    """Whether the method does this at all; if not, it says why."""
    support = load("methods", name)().supports(
        Cell("tiny", name, "uniform", pattern, f"{sparsity:.2f}", "text_4x16", 0)
    )
    assert support.ok != bool(support.reason)
    return bool(support.ok)


DONE = [(name, *point) for name in PRUNING for point in POINTS if supports(name, *point)]


@pytest.fixture(scope="session", params=["llama", "qwen3", "opt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(architecture, directory) of a tiny random model."""
    return request.param, tiny.make_model(tmp_path_factory.mktemp("model"), request.param)


def prune(
    model: tuple[str, Path], method: Method, pattern: str, sparsity: float, scratch: Path, dtype: Any = torch.bfloat16
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """(changed weights, block records) of a whole prune."""
    name, directory = model
    streamed = tiny.open_model(directory, name, dtype)
    base = TensorStore(directory, torch.bfloat16)
    work = Scratch(scratch, base)
    tokens = tiny.tokens(6, 16) if "calibration" in method.uses else None
    gradients = None
    if method.needs_gradients:
        gradients = calibration_gradients(tiny.open_model(directory, name, dtype), tiny.tokens(6, 16))
    allocation = dict.fromkeys(linear_sizes(directory, streamed.family), sparsity)
    records = prune_model(
        streamed,
        method,
        allocation,
        parse_pattern(pattern),
        tokens,
        work,
        batch_size=4,
        seed=3,
        gradients=gradients,
    )
    work.merge(streamed.blocks, scratch / "all.safetensors")
    return dict(PackedStore(scratch / "all.safetensors", base)), records


def test_every_method_prunes_without_a_pattern() -> None:
    assert {name for name, pattern, _ in DONE if pattern == "unstructured"} == {*PRUNING}


@pytest.mark.parametrize(("name", "pattern", "sparsity"), DONE)
def test_sparsity_shape_and_dtype(
    model: tuple[str, Path], name: str, pattern: str, sparsity: float, tmp_path: Path
) -> None:
    method = quick(name)
    weights, records = prune(model, method, pattern, sparsity, tmp_path)
    dense = TensorStore(model[1])
    sizes = linear_sizes(model[1], load("models", tiny.ARCHITECTURES[model[0]][0]))
    # A block of which nothing goes is left alone.
    assert set(weights) == ({f"{linear}.weight" for linear in sizes} if sparsity else set())
    for key, weight in weights.items():
        assert weight.shape == dense[key].shape and weight.dtype == torch.bfloat16
        zeros = (weight == 0).float()
        # Random weights hold a zero or two of their own; a row rounds to the nearest whole number of zeros.
        if not method.redistributes:
            assert zeros.mean().item() == pytest.approx(sparsity, abs=0.5 / weight.shape[1] + 0.004)
        if pattern != "unstructured":
            keep, group = map(int, pattern.split("of"))
            assert (zeros.reshape(len(zeros), -1, group).sum(-1) >= group - keep).all()
    assert len(records) == 2
    for record in records:
        counts = record["linears"].values()
        share = sum(linear["zeros"] for linear in counts) / sum(linear["weights"] for linear in counts)
        assert share == pytest.approx(sparsity, abs=0.5 / min(linear["inputs"] for linear in counts) + 0.004)
        for linear, counted in record["linears"].items():
            key = f"{linear}.weight"
            assert counted["zeros"] == int(((weights[key] if key in weights else dense[key]) == 0).sum())


@pytest.mark.parametrize("name", METHODS)
def test_the_same_run_gives_the_same_bits(model: tuple[str, Path], name: str, tmp_path: Path) -> None:
    prune(model, quick(name), "unstructured", 0.5, tmp_path / "a")
    prune(model, quick(name), "unstructured", 0.5, tmp_path / "b")
    first, second = ((tmp_path / run / "all.safetensors").read_bytes() for run in "ab")
    assert first == second


@pytest.mark.parametrize("name", METHODS)
def test_plugin_describes_itself(name: str) -> None:
    method = load("methods", name)
    assert method.name == name and method.title and method.__doc__
    assert "paper" in method.presets and method.configure("paper") == method.Params()
    for preset in method.presets:
        method.configure(preset)
    assert method.uses <= {"allocator", "pattern", "sparsity", "calibration", "seed"}
    assert not method.needs or "calibration" in method.uses


def test_dense_changes_nothing(model: tuple[str, Path], tmp_path: Path) -> None:
    weights, records = prune(model, load("methods", "dense")(), "unstructured", 0.0, tmp_path)
    assert weights == {}
    assert sum(counted["weights"] for record in records for counted in record["linears"].values()) > 0
