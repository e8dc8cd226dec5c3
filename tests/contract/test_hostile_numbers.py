"""Whatever numbers a model holds, pruning and evaluating it gives a result, or a failure that says where and what."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from contract.test_methods import quick
from prunebench.allocators.base import check_budget
from prunebench.engine.anatomy import Anatomy, linear_sizes
from prunebench.engine.gradients import calibration_gradients
from prunebench.engine.loop import prune_model
from prunebench.engine.loss import perplexity, window_losses
from prunebench.engine.profile import profile_model
from prunebench.errors import CellFailure
from prunebench.patterns import parse_pattern
from prunebench.registry import load, ready
from prunebench.stages.outcome import Outcome
from prunebench.storage.files import json_text
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.sealed import read_record
from prunebench.storage.tensors import TensorStore

Weights = dict[str, torch.Tensor]
LINEAR = "model.layers.1.mlp.up_proj.weight"
NORM = "model.layers.1.input_layernorm.weight"


def _fill(name: str, value: float, place: object = ...) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        weights[name][place] = value

    return change


def _scale(name: str, factor: float) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        weights[name] *= factor

    return change


HOSTILE: dict[str, Callable[[Weights], None]] = {
    "nan": _fill(LINEAR, torch.nan, (3, 5)),
    "infinity": _fill(LINEAR, torch.inf, (3, 5)),
    "two infinities": lambda weights: weights[LINEAR][0, :2].copy_(torch.tensor([torch.inf, -torch.inf])),
    "nan in a norm": _fill(NORM, torch.nan, 0),
    "nan in the embedding": _fill("model.embed_tokens.weight", torch.nan),
    "nan in the head": _fill("lm_head.weight", torch.nan, 0),
    "huge linear": _scale(LINEAR, 1e30),
    "huge output": _scale("model.layers.0.mlp.down_proj.weight", 1e30),
    "largest numbers": _fill(LINEAR, 3e38),
    "huge norm": _scale(NORM, 1e25),
    "huge queries": _scale("model.layers.0.self_attn.q_proj.weight", 1e35),
    "tiny linear": _scale(LINEAR, 1e-38),
    "zero matrix": _fill(LINEAR, 0.0),
    "zero rows and columns": lambda weights: weights[LINEAR][:8].zero_() + weights[LINEAR][:, :8].zero_().sum(),
    "constant matrix": _fill(LINEAR, 0.25),
    "constant activations": _fill("model.layers.0.post_attention_layernorm.weight", 0.0),
    "dead inputs": _fill(NORM, 0.0, slice(8)),
}


def hostile_model(kind: str, directory: Path) -> Path:
    """Make a tiny model with the numbers that `kind` names."""
    tiny.make_model(directory)
    weights = load_file(directory / "model.safetensors")
    HOSTILE[kind](weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


PLACE = re.compile(r"layers\.\d+\.\w+|block \d|embed_tokens|lm_head")


@pytest.mark.parametrize("kind", HOSTILE)
def test_each_method_has_a_result_or_a_failure_with_a_place(kind: str, tmp_path: Path) -> None:
    directory = hostile_model(kind, tmp_path / "model")
    for name in ready("methods"):
        with told():
            prune(directory, name, tiny.tokens(2, 8), tmp_path / name)


@pytest.mark.parametrize("kind", HOSTILE)
def test_each_allocator_has_a_result_or_a_failure(kind: str, tmp_path: Path) -> None:
    directory = hostile_model(kind, tmp_path / "model")
    model = tiny.open_model(directory)
    save_file(profile_model(model, tiny.tokens(2, 8), batch_size=2), tmp_path / "profile.safetensors")
    anatomy = Anatomy(directory, model.family, torch.bfloat16, profile=tmp_path / "profile.safetensors")
    for name in ready("allocators"):
        allocator = load("allocators", name)
        if not allocator.runs_model:  # else it is a method, too
            with suppress(CellFailure):
                json_text(shares := allocator().allocate(anatomy, 0.5))
                check_budget(shares, anatomy.sizes, 0.5)


@pytest.mark.parametrize("kind", HOSTILE)
def test_each_measurement_is_a_number_or_a_failure_with_a_place(kind: str, tmp_path: Path) -> None:
    directory = hostile_model(kind, tmp_path / "model")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with told():
            losses = window_losses(tiny.open_model(directory, dtype=dtype), tiny.tokens(2, 8), 2)
            assert math.isfinite(perplexity(losses, "text"))


@pytest.mark.parametrize(
    "tokens",
    [torch.full((2, 4), 5), tiny.tokens(1, 1)],
    ids=["equal tokens", "one token"],
)
def test_each_method_with_little_calibration(tokens: torch.Tensor, tmp_path: Path) -> None:
    tiny.make_model(tmp_path / "model")
    for name in ready("methods"):
        if name != "pruner_zero" or tokens.shape[1] > 1:  # one token has no next one, whose loss has a gradient
            with told():
                prune(tmp_path / "model", name, tokens, tmp_path / name)


def test_numbers_too_large_for_float16_are_told(tmp_path: Path) -> None:
    directory = hostile_model("huge linear", tmp_path / "model")
    with pytest.raises(CellFailure, match="1536 weights are too large for float16: compute in another dtype"):
        prune(directory, "wanda", tiny.tokens(2, 8), tmp_path / "wanda", torch.float16)


def test_damaged_weights_are_named_with_their_file(tmp_path: Path) -> None:
    directory = hostile_model("two infinities", tmp_path / "model")
    expected = rf"{LINEAR} holds NaN or infinity \(2 of its values in model.safetensors\)"
    for name in ready("methods"):
        with pytest.raises(CellFailure, match=expected):
            prune(directory, name, tiny.tokens(2, 8), tmp_path / name)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_record_with_such_a_number_becomes_a_failure(number: float, tmp_path: Path) -> None:
    outcome = Outcome("{}")
    with outcome.attempt() as record:
        record["scores"] = [{"task": "text", "details": {"losses": [1.0, number]}}]
    assert outcome.failure == (
        f"failed: entry 1 of losses of details of entry 0 of scores is {number}: a computation has overflowed"
    )
    outcome.write(tmp_path / "result.json", tmp_path / "measured.json")
    assert "scores" not in read_record(tmp_path / "result.json")


@contextmanager
def told() -> Iterator[None]:
    """Let a CellFailure pass that says where it comes from."""
    try:
        yield
    except CellFailure as failure:
        assert PLACE.search(str(failure)), failure


def prune(
    directory: Path, name: str, tokens: torch.Tensor, scratch: Path, dtype: torch.dtype = torch.float32
) -> list[dict[str, Any]]:
    """Prune the model in `directory` to 50%, and return the records of its blocks."""
    method = quick(name)
    model = tiny.open_model(directory, dtype=dtype)
    gradients = None
    if method.needs_gradients:
        gradients = calibration_gradients(tiny.open_model(directory, dtype=dtype), tokens)
    return prune_model(
        model,
        method,
        dict.fromkeys(linear_sizes(directory, model.family), 0.5),
        parse_pattern("unstructured"),
        tokens if "calibration" in method.uses else None,
        Scratch(scratch, TensorStore(directory, torch.bfloat16)),
        batch_size=2,
        gradients=gradients,
    )
