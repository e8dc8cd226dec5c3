"""The sensitivities of outputs against all derivatives of plain transformers, and what becomes of bad numbers."""

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
def test_their_squares_are_the_sums_of_all_derivatives_in_a_plain_model(name: str, tmp_path: Path) -> None:
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


def test_what_is_added_to_the_hidden_states_alone_counts_alike(tmp_path: Path) -> None:
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


def test_a_second_look_is_equal_bit_for_bit_and_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    first, second = (looked(directory, "llama", tmp_path / part).seen for part in "ab")
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_they_hardly_depend_on_the_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
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
