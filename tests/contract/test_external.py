"""A checkpoint that somebody else pruned: every tensor of it is taken over, and its sparsity measured."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.loop import prune_model
from prunebench.engine.loss import window_losses
from prunebench.errors import PrunebenchError
from prunebench.methods.external import External
from prunebench.patterns import UNSTRUCTURED
from prunebench.stages.prune import summarise
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import PackedStore, TensorStore


@pytest.fixture(params=["llama", "opt"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path]:
    """(architecture, a model, a checkpoint made from it by zeroing a third of each linear and moving the rest)."""
    directory = tiny.make_model(tmp_path / "model", request.param)
    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    sizes = linear_sizes(directory, tiny.open_model(directory, request.param).family)
    for name, parameter in theirs.named_parameters():
        parameter.data += 0.25
        if name.removesuffix(".weight") in sizes:
            parameter.data[:, ::3] = 0
    theirs.save_pretrained(tmp_path / "theirs")
    return request.param, directory, tmp_path / "theirs"


def take_over(name: str, directory: Path, theirs: Path, scratch: Path) -> tuple[PackedStore, list[dict[str, object]]]:
    model = tiny.open_model(directory, name)
    base = TensorStore(directory, torch.bfloat16)
    work = Scratch(scratch, base)
    method = External(External.Params(model="theirs"))
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.0)
    records = prune_model(
        model, method, allocation, UNSTRUCTURED, None, work, batch_size=1, assets={"models/theirs": theirs}
    )
    work.merge(model.blocks, scratch / "all.safetensors")
    return PackedStore(scratch / "all.safetensors", base), records


def test_the_result_computes_what_the_checkpoint_computes(pair: tuple[str, Path, Path], tmp_path: Path) -> None:
    name, directory, theirs = pair
    weights, records = take_over(name, directory, theirs, tmp_path / "scratch")
    windows = tiny.tokens(3, 20)
    expected = window_losses(tiny.open_model(theirs, name), windows, 2)
    assert window_losses(tiny.open_model(directory, name, overrides=weights), windows, 2) == expected
    assert expected != window_losses(tiny.open_model(directory, name), windows, 2)
    sparsity = summarise(records, None)
    thirds = [
        -(-width // 3) / width for _, width in linear_sizes(directory, tiny.open_model(theirs, name).family).values()
    ]
    assert min(thirds) <= sparsity["achieved_sparsity"] <= max(thirds)
    assert sparsity["target_sparsity"] is None


def test_another_model_is_refused(pair: tuple[str, Path, Path], tmp_path: Path) -> None:
    name, directory, _ = pair
    other = tiny.make_model(tmp_path / "other", name, vocab_size=200)
    with pytest.raises(PrunebenchError, match=r"theirs is no pruned version of this model: .*\[200, 32\] there"):
        take_over(name, directory, other, tmp_path / "scratch")
    deeper = tiny.make_model(tmp_path / "deeper", name, blocks=3)
    with pytest.raises(PrunebenchError, match="num_hidden_layers: 3, this model's 2"):
        take_over(name, directory, deeper, tmp_path / "scratch")
