"""The sensitivities of outputs against all derivatives of plain transformers, and failures by infinite numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from oracles import sensitivity as oracle
from prunebench.engine import sensitivity
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.loop import prune_model
from prunebench.errors import CellFailure
from prunebench.patterns import UNSTRUCTURED
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import TensorStore

TOKENS = 5


class Look(Method):
    """Records the sensitivities in each block, and the mean of their squares over `draws` random signs."""

    name, title, dense_stream = "look", "Look", True
    uses = Method.uses - {"sparsity"} | {"calibration", "seed"}

    def __init__(self, draws: int) -> None:
        super().__init__()
        self.draws = draws
        self.seen, self.squares = list[dict[str, torch.Tensor]](), list[dict[str, torch.Tensor]]()

    def prune_block(self, block: Any, *_: Any) -> BlockResult:
        self.seen.append(sensitivity.sensitivities(block))
        draws = []
        for seed in range(self.draws):
            block.seed = seed
            draws.append(sensitivity.squares(block))
        self.squares.append(
            {name: torch.stack([draw[name] for draw in draws]).mean(dim=0) for name in self.seen[-1] if draws}
        )
        # The damage must not be seen in the blocks that follow.
        return BlockResult({name: PrunedLinear(block.weight(name) / 2) for name in self.seen[-1]})


def looked(directory: Path, name: str, scratch: Path, draws: int = 0, dtype: torch.dtype = torch.float32) -> Look:
    model, look = tiny.open_model(directory, name, dtype), Look(draws)
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    work = Scratch(scratch, TensorStore(directory, torch.bfloat16))
    # The fifth window is looked at, the three before it are not.
    prune_model(model, look, allocation, UNSTRUCTURED, tiny.tokens(5, TOKENS), work, batch_size=2)
    return look


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "opt", "opt_350m", "phi3", "falcon", "gptj"])
def test_squares_are_the_sums_of_all_derivatives_in_a_plain_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "BOUND", 1e30)
    directory = tiny.make_model(tmp_path / "model", name)
    estimates = looked(directory, name, tmp_path / "scratch", draws=120).squares
    model, fused = tiny.reference(directory, torch.float64), tiny.fused_rows(directory)
    family = tiny.open_model(directory, name).family
    for index, block in enumerate(model.get_submodule(family.blocks)):
        names = {linear: family.full_name(index, linear) for linear in family.linears()}
        stored = {linear: fused[full][0] if full in fused else full for linear, full in names.items()}
        exact = oracle.squared(
            lambda: model(tiny.tokens(5, TOKENS)[[0, 4]].to(tiny.DEVICE)),
            block,
            {name: model.get_submodule(name) for name in stored.values()},
            lambda states: states / states.detach().square().mean(dim=-1, keepdim=True).sqrt(),
        )
        for linear, full in names.items():
            squares = exact[stored[linear]]
            if full in fused:
                rows = fused[full][1]
                squares = squares.view(rows.groups, rows.run)[:, rows.start : rows.stop].flatten()
            estimate = estimates[index][linear].double().cpu()
            torch.testing.assert_close(estimate, squares, rtol=0.25, atol=0.02 * float(squares.mean()))
            assert float(estimate.sum() / squares.sum()) == pytest.approx(1, rel=0.08), linear


def test_outputs_that_are_only_added_to_the_hidden_states_count_alike(tmp_path: Path) -> None:
    for seen in looked(tiny.make_model(tmp_path / "model"), "llama", tmp_path / "scratch").seen:
        torch.testing.assert_close(seen["mlp.down_proj"], torch.ones_like(seen["mlp.down_proj"]))
        for linear, rows in seen.items():
            squares = rows.cpu().square()
            assert squares.mean() == pytest.approx(1, rel=0.01) and (squares.std() > 0.1) == (linear != "mlp.down_proj")


def test_an_output_that_nothing_reads_counts_least(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    file = directory / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.0.mlp.down_proj.weight"][:, 3] = 0
    weights["model.layers.1.mlp.down_proj.weight"].zero_()
    save_file(weights, file, metadata={"format": "pt"})
    first, second = looked(directory, "llama", tmp_path / "scratch").seen
    for linear in ("mlp.up_proj", "mlp.gate_proj"):
        assert first[linear].argmin() == 3 and float(first[linear][3]) == pytest.approx(sensitivity.LEAST)
        assert (second[linear] == 1).all()


def test_a_second_look_is_equal_bit_for_bit(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    first, second = (looked(directory, "llama", tmp_path / part).seen for part in "ab")
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("fails", [True, False])
def test_a_look_leaves_no_hook_and_no_gradient_behind(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Twice(Look):
        def prune_block(self, block: Any, *rest: Any) -> BlockResult:
            before = block.forward(0)
            if fails:
                with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
                    patch.setattr(sensitivity, "_signed", lambda outputs, source: 1 / 0)
                    sensitivity.sensitivities(block)
            result = super().prune_block(block, *rest)
            assert torch.equal(block.forward(0), before) and not block.forward(0).requires_grad
            assert not any(module._forward_hooks for module in block._module.modules())
            return result

    directory = tiny.make_model(tmp_path / "model")
    model, work = tiny.open_model(directory), Scratch(tmp_path / "scratch", TensorStore(directory, torch.bfloat16))
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    prune_model(model, Twice(0), allocation, UNSTRUCTURED, tiny.tokens(5, TOKENS), work, batch_size=2)


def test_one_token_does_not_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raised(factor: float) -> list[dict[str, torch.Tensor]]:
        monkeypatch.setattr(sensitivity, "_signed", lambda outputs, source: _raised(outputs, factor))
        return looked(directory, "llama", tmp_path / str(factor)).seen

    def _raised(outputs: torch.Tensor, factor: float) -> torch.Tensor:
        weights = torch.ones(outputs.shape[1], 1, device=outputs.device)
        weights[2] = factor
        return (outputs.float() * weights).sum()

    directory = tiny.make_model(tmp_path / "model")
    for one, other in zip(raised(1e2), raised(1e4), strict=True):
        for linear in ("mlp.down_proj", "mlp.up_proj", "mlp.gate_proj"):
            torch.testing.assert_close(one[linear], other[linear])


@pytest.mark.parametrize("name", tiny.EVERY_ARCHITECTURE)
def test_every_architecture_has_sensitivities(name: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", name)
    for seen in looked(directory, name, tmp_path / "scratch").seen:
        assert all(torch.isfinite(rows).all() and (rows > 0).all() for rows in seen.values())


def test_a_token_is_bounded_by_the_median_unless_most_have_no_part() -> None:
    square = torch.ones(5, 3)
    square[1] = 1000
    assert torch.equal(sensitivity._bounded_sum(square), torch.full((3,), 4 + sensitivity.BOUND))
    square[2:] = 0
    assert torch.equal(sensitivity._bounded_sum(square[1:]), square[1])


def test_a_token_of_tiny_states_does_not_overflow(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    file = directory / "model.safetensors"
    weights = load_file(file)
    token = int(tiny.tokens(5, TOKENS)[4, 1])
    weights["model.embed_tokens.weight"][token] = 0
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"model.layers.0.{name}.weight"] *= 1e-6
    save_file(weights, file, metadata={"format": "pt"})
    looked(directory, "llama", tmp_path / "scratch", dtype=torch.float16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sensitivities_hardly_depend_on_the_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    exact = looked(directory, "llama", tmp_path / "exact").seen
    rounded = looked(directory, "llama", tmp_path / "rounded", dtype=dtype).seen
    for one, other in zip(exact, rounded, strict=True):
        for name in one:
            torch.testing.assert_close(other[name], one[name], rtol=0.05, atol=0.02)


def test_gradients_that_are_no_numbers_fail_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "_signed", lambda outputs, source: outputs.float().sum() * float("inf"))
    directory = tiny.make_model(tmp_path / "model")
    with pytest.raises(CellFailure, match=r"gradients by the outputs of model\.layers\.0\..* are NaN or infinite"):
        looked(directory, "llama", tmp_path / "scratch")
