"""Block-wise reconstruction: what it learns from, what it learns, and that the mask stays."""

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
from prunebench.errors import CellFailure
from prunebench.methods.reconstruct import Reconstruct
from prunebench.methods.reconstruct_learning import Reconstruction
from prunebench.registry import load

TOKENS = tiny.tokens(6, 16)


def reconstruct(**params: Any) -> Reconstruct:
    return Reconstruct(Reconstruct.configure(overrides=params))


@pytest.fixture(scope="module", params=["llama", "opt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(architecture, directory) of a tiny random model."""
    return request.param, tiny.make_model(tmp_path_factory.mktemp("model"), request.param)


@pytest.mark.parametrize(("pattern", "sparsity"), [("unstructured", 0.7), ("2of4", 0.5)])
@pytest.mark.parametrize("solver", ["magnitude", "wanda", "sparsegpt"])
def test_blocks_come_nearer_to_the_dense_model_with_the_mask_of_the_solver(
    model: tuple[str, Path], solver: str, pattern: str, sparsity: float, tmp_path: Path
) -> None:
    method = reconstruct(solver=solver, epochs=5, learning_rate=1e-3)
    weights, records = prune(model, method, pattern, sparsity, tmp_path / "learned", torch.float32)
    plain, _ = prune(model, load("methods", solver)(), pattern, sparsity, tmp_path / "plain", torch.float32)
    for record in records:
        assert record["error"]["learned"] < 0.95 * record["error"]["solver"]
    first = [name for name in plain if ".0." in name]
    for name in first:  # behind it, the inputs are others
        assert torch.equal(weights[name] == 0, plain[name] == 0)
        assert not torch.equal(weights[name], plain[name])


class Linear:
    """A block of one linear, as far as `Reconstruction` looks at it."""

    index = 3

    def __init__(self, weight: torch.Tensor, pruned: torch.Tensor, dense: torch.Tensor) -> None:
        self.weight, self.streams = weight, {False: pruned, True: dense}
        self.batches = range(len(pruned))
        self.samples = [(batch, row) for batch in self.batches for row in range(pruned.shape[1])]

    def forward(self, batch: int, weights: Any = None, *, dense: bool = False, row: int | None = None) -> torch.Tensor:
        x = self.streams[dense][batch]
        x = x if row is None else x[row : row + 1]
        outputs: torch.Tensor = x @ (weights["w"] if weights else self.weight).T
        return outputs


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("targets", [False, True])
def test_steps_equal_the_oracle(inputs: bool, targets: bool, decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, start = torch.randn(2, 5, 8, generator=generator)
    start[torch.rand(5, 8, generator=generator) < 0.5] = 0
    pruned, dense = torch.randn(2, 2, 3, 7, 8, generator=generator)  # of 2 batches of 3 samples
    problem: Any = Reconstruction(Linear(weight, pruned, dense), dense_inputs=inputs, dense_targets=targets)  # type: ignore[arg-type]
    learned = problem.learn({"w": start}, epochs=3, learning_rate=0.05, decay=decay)["w"]
    streams = [x.double().flatten(0, 1).numpy() for x in (pruned, dense)]
    samples, wholes = list(streams[inputs]), list(streams[targets])
    goals = [x @ weight.double().numpy().T for x in wholes]
    expected = oracle.learn(start.double().numpy(), samples, goals, epochs=3, learning_rate=0.05, decay=decay)
    assert np.allclose(learned.numpy(), expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(learned == 0, start == 0)
    errors = [np.sum((y - x @ expected.T) ** 2) / np.sum(y**2) for x, y in zip(samples, goals, strict=True)]
    assert problem.error({"w": learned}) == pytest.approx(np.mean(errors), rel=1e-3)


@pytest.mark.parametrize("targets", ["dense", "pruned"])
def test_targets_are_the_hidden_states_of_the_dense_model(
    targets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny.make_model(tmp_path / "model", "llama", num_hidden_layers=3)
    seen, learn = [], Reconstruction.learn

    def watched(self: Reconstruction, *args: Any, **options: Any) -> Any:
        seen.append(torch.cat(self._targets))
        return learn(self, *args, **options)

    monkeypatch.setattr(Reconstruction, "learn", watched)
    method = reconstruct(targets=targets, epochs=1)
    prune(("llama", directory), method, "unstructured", 0.5, tmp_path / "scratch", torch.float32)
    dense = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        states = dense(TOKENS, output_hidden_states=True).hidden_states
    assert torch.allclose(seen[0], states[1], atol=1e-5)
    assert torch.allclose(seen[1], states[2], atol=1e-5) == (targets == "dense")


def test_if_learning_goes_astray_the_solvers_weights_stay(model: tuple[str, Path], tmp_path: Path) -> None:
    weights, records = prune(
        model, reconstruct(epochs=1, learning_rate=10.0), "unstructured", 0.5, tmp_path / "a", torch.float32
    )
    plain, _ = prune(model, load("methods", "wanda")(), "unstructured", 0.5, tmp_path / "b", torch.float32)
    assert all(record["error"]["learned"] >= record["error"]["solver"] for record in records)
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


def test_a_loss_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    streamed = tiny.open_model(directory)
    activations = embed(streamed, TOKENS, 4)
    with streamed.block(0) as module:
        advance(activations, module, 0)
    with streamed.block(1) as module:
        block = BlockView(module, 1, activations, activations.copy(), model=streamed)
        problem = Reconstruction(block, dense_inputs=False, dense_targets=True)
        broken = block.weight("mlp.up_proj") * torch.nan
        with pytest.raises(CellFailure, match="NaN or infinite in step 1 of block 1"):
            problem.learn({"mlp.up_proj": broken}, epochs=1, learning_rate=1e-3, decay=0)
