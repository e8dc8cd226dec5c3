"""Reconstruction: what it learns from, what it learns, and that the mask stays."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
from contract.test_methods import prune
from oracles import reconstruct as oracle
from prunebench.engine.activations import advance, embed
from prunebench.engine.block import BlockView
from prunebench.engine.contract import PrunedLinear
from prunebench.errors import CellFailure
from prunebench.methods.reconstruct import SOLVERS, Reconstruct
from prunebench.methods.reconstruct_learning import Part, parts
from prunebench.methods.wanda import Wanda
from prunebench.registry import load

TOKENS = tiny.tokens(6, 16)


def reconstruct(**params: Any) -> Reconstruct:
    return Reconstruct(Reconstruct.configure(overrides=params))


@pytest.fixture(scope="module", params=["llama", "opt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(architecture, directory) of a tiny random model."""
    return request.param, tiny.make_model(tmp_path_factory.mktemp("model"), request.param)


CASES = [("llama", solver, "unstructured") for solver in SOLVERS]
CASES += [("opt", "sparsegpt", "unstructured"), ("opt", "dense_fit", "2of4"), ("llama", "wanda", "2of4")]


@pytest.mark.parametrize(("architecture", "solver", "pattern"), CASES)
def test_blocks_come_nearer_to_the_dense_model_with_the_mask_of_the_solver(
    architecture: str, solver: str, pattern: str, tmp_path: Path
) -> None:
    model = architecture, tiny.make_model(tmp_path / "model", architecture)
    sparsity = 0.5 if pattern == "2of4" else 0.7
    method = reconstruct(solver=solver, states="mixed", epochs=3, learning_rate=5e-4)
    weights, records = prune(model, method, pattern, sparsity, tmp_path / "learned", torch.float32)
    plain, _ = prune(model, load("methods", solver)(), pattern, sparsity, tmp_path / "plain", torch.float32)
    for record in records:
        errors = record["errors"]["block"]
        assert errors["learned"] < errors["solver"]
    first = [name for name in plain if ".0." in name]
    for name in first:  # behind it, the inputs are others
        assert torch.equal(weights[name] == 0, plain[name] == 0)
        assert not torch.equal(weights[name], plain[name])


class Linear:
    """A block of one linear, as far as `Part` looks at it."""

    def __init__(self, pruned: torch.Tensor, dense: torch.Tensor) -> None:
        self.streams = {False: pruned, True: dense}
        self.samples = [(batch, row) for batch in range(len(pruned)) for row in range(pruned.shape[1])]

    def forward(self, batch: int, weights: Any, *, dense: bool, row: int) -> torch.Tensor:
        outputs: torch.Tensor = self.streams[dense][batch][row : row + 1] @ weights["w"].T
        return outputs


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("dense", [False, True])
def test_steps_equal_the_oracle(dense: bool, decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 8, generator=generator)
    start[torch.rand(5, 8, generator=generator) < 0.5] = 0
    streams = torch.randn(2, 2, 3, 7, 8, generator=generator)  # 2 batches of 3 samples
    targets = torch.randn(2, 3, 7, 5, generator=generator)
    block: Any = Linear(*streams)
    part = Part(block, ["w"], dense, list(targets))
    learned, errors = part.learn({"w": start}, epochs=3, learning_rate=0.05, decay=decay)
    samples, goals = (
        list(streams[int(dense)].double().flatten(0, 1).numpy()),
        list(targets.double().flatten(0, 1).numpy()),
    )
    expected = oracle.learn(start.double().numpy(), samples, goals, epochs=3, learning_rate=0.05, decay=decay)
    assert np.allclose(learned["w"].numpy(), expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(learned["w"] == 0, start == 0)
    for name, weight in {"solver": start.double().numpy(), "learned": expected}.items():
        assert errors[name] == pytest.approx(oracle.error(weight, samples, goals), rel=1e-3)


@contextmanager
def second_block(directory: Path, name: str) -> Iterator[BlockView]:
    """The second block of a model whose first block is pruned."""
    streamed = tiny.open_model(directory, name)
    activations = embed(streamed, TOKENS, 4)
    dense = activations.copy()
    with streamed.block(0) as module:
        advance(dense, module, 0)
        for parameter in module.parameters():
            parameter[::2] = 0
        advance(activations, module, 0)
    with streamed.block(1) as module:
        yield BlockView(module, 1, activations, dense, model=streamed)


@pytest.mark.parametrize("name", ["llama", "opt", "gemma2", "falcon", "gpt_neox", "phi3"])
def test_the_unpruned_block_has_no_error_unless_its_inputs_are_damaged(name: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", name, blocks=3)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        dense = model(TOKENS, output_hidden_states=True).hidden_states[2]
    with second_block(directory, name) as block:
        for states, scope in itertools.product(("dense", "mixed", "pruned"), ("block", "submodule")):
            learning = parts(block, states, scope)  # type: ignore[arg-type]
            assert [*learning] == (["block"] if scope == "block" else ["attention", "ffn"])
            assert sorted(linear for part in learning.values() for linear in part.linears) == sorted(block.full_names)
            *_, last = learning.values()
            assert torch.allclose(torch.cat([*last.targets]).cpu(), dense, atol=1e-4) == (states != "pruned")
            for part in learning.values():
                assert (part.error({}) < 1e-9) == (states != "mixed")


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_submodules_learn_one_after_the_other(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = name, tiny.make_model(tmp_path / "model", name)
    seen: list[tuple[Part, dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    learn = Part.learn

    def watched(self: Part, weights: dict[str, torch.Tensor], **options: Any) -> Any:
        before = dict(weights)
        learned, errors = learn(self, weights, **options)
        seen.append((self, before, learned))
        return learned, errors

    monkeypatch.setattr(Part, "learn", watched)
    method = reconstruct(scope="submodule", epochs=3, learning_rate=1e-3)
    weights, records = prune(model, method, "unstructured", 0.5, tmp_path / "scratch", torch.float32)
    for record in records:
        for errors in record["errors"].values():
            assert errors["learned"] < errors["solver"]
    for attention, ffn in (seen[:2], seen[2:]):
        assert attention[2].keys() | ffn[2].keys() == ffn[1].keys() and not attention[2].keys() & ffn[2].keys()
        for linear, weight in attention[2].items():
            assert torch.equal(ffn[1][linear], weight) and not torch.equal(attention[1][linear], weight)
            full = f"{attention[0].block.full_names[linear]}.weight"
            assert torch.equal(weights[full], weight.to("cpu", torch.bfloat16))


@pytest.mark.parametrize("rate", [10.0, 1e30])
def test_if_learning_goes_astray_the_weights_of_the_solver_stay(
    model: tuple[str, Path], rate: float, tmp_path: Path
) -> None:
    method = reconstruct(epochs=1, learning_rate=rate)
    weights, records = prune(model, method, "unstructured", 0.5, tmp_path / "a", torch.float32)
    plain, _ = prune(model, load("methods", "wanda")(), "unstructured", 0.5, tmp_path / "b", torch.float32)
    for record in records:
        errors = record["errors"]["block"]
        assert errors["learned"] is None if rate > 10 else errors["learned"] > errors["solver"]
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


def test_an_error_that_is_not_finite_before_learning_is_a_failure(
    model: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Wanda, weights: dict[str, torch.Tensor], *_: Any) -> dict[str, PrunedLinear]:
        return {name: PrunedLinear(weight * torch.inf) for name, weight in weights.items()}

    monkeypatch.setattr(Wanda, "prune_site", broken)
    with pytest.raises(CellFailure, match=r"^block 0: .* is NaN or infinite before learning"):
        prune(model, reconstruct(epochs=1), "unstructured", 0.5, tmp_path / "scratch", torch.float32)
