"""Checkpoints are read, pruned and exported as `from_pretrained` loads them: layouts x dtypes x architectures."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import prunebench
import tiny
from checkpoints import layouts
from prunebench import Pruned

WINDOWS = tiny.tokens(4, 16, seed=3)
DTYPES = ("float32", "float16", "bfloat16", "float64", "mixed")
MEMBERS = [
    # Every layout, on both ways to name a decoder.
    *(
        (layout, architecture, "bfloat16", "right", True)
        for layout in layouts.LAYOUTS
        for architecture in ("llama", "opt")
    ),
    # Layouts that say nothing of the head, on a model with one of its own.
    *((layout, "llama", "float16", "right", False) for layout in sorted(layouts.UNTIED)),
    # Other names of decoder, embedding and head, on matrices that hold several linears.
    *(
        (layout, architecture, "float16", "right", True)
        for layout in ("unchanged", "bare_decoder", "head_only", "both_tied", "another_head")
        for architecture in ("gpt_neox", "falcon", "bloom")
    ),
    ("unchanged", "gpt_neox", "float16", "right", False),
    # Every dtype, whatever the config says of it.
    *(("unchanged", "llama", dtype, says, True) for dtype in DTYPES for says in layouts.SAYS),
    # Every architecture, in two files whose dtype the config does not know.
    *(("shard", architecture, dtype, "nothing", True) for architecture in tiny.ARCHITECTURES for dtype in DTYPES[:3]),
]
# Only names of the LLaMA family are in these.
MEMBERS = [member for member in MEMBERS if member[:2] not in (("old_buffers", "opt"), ("flags", "opt"))]
# Small tensors of another dtype outnumber the weights where there are biases.
MEMBERS += [("unchanged", architecture, "mixed", "right", True) for architecture in ("opt", "gpt_neox")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))


def plain_perplexity(directory: Path) -> float:
    """exp of the mean loss per predicted token, by a plain loop around `from_pretrained` in float32."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    losses = []
    with torch.no_grad():
        for window in WINDOWS:
            logits = model(input_ids=window[None]).logits[0, :-1]
            losses.append(float(nn.functional.cross_entropy(logits, window[1:])))
    return math.exp(math.fsum(losses) / len(losses))


def perplexity(directory: Path) -> float:
    return prunebench.perplexity(directory, WINDOWS, dtype="float32", batch_size=2, threads=1).value


def parameters(directory: Path) -> dict[str, Tensor]:
    """Every parameter as transformers loads it, in float64, which holds every other dtype exactly."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("layout", "architecture", "dtype", "says", "tied"),
    MEMBERS,
    ids=["-".join(map(str, member)).replace("-True", "").replace("-False", "-own_head") for member in MEMBERS],
)
def test_a_checkpoint_is_read_pruned_and_exported_as_it_is(
    layout: str, architecture: str, dtype: str, says: str, tied: bool, tmp_path: Path
) -> None:
    directory = layouts.make(tmp_path / "model", architecture, dtype, tied=tied)
    stored = {name: tensor.dtype for name, tensor in layouts.tensors(directory).items()}
    layouts.SAYS[says](directory)
    layouts.LAYOUTS[layout](directory)
    assert perplexity(directory) == pytest.approx(plain_perplexity(directory), rel=1e-4)

    pruned = prunebench.prune(directory, out=tmp_path / "out", method="magnitude", sparsity=0.5, threads=1)
    assert perplexity(pruned.directory) == pytest.approx(plain_perplexity(pruned.directory), rel=1e-4)
    check_kept(parameters(directory), parameters(pruned.directory), pruned)
    check_dtypes(stored, pruned.directory)


def check_kept(before: dict[str, Tensor], after: dict[str, Tensor], pruned: Pruned) -> None:
    """Kept weights are bit-equal to the source; half of the linears' weights are zero, and nothing else changed."""
    assert before.keys() == after.keys()
    zeros = 0
    for name, weight in after.items():
        gone = (weight == 0) & (before[name] != 0)
        assert torch.equal(weight[~gone], before[name][~gone]), name
        in_block = ".0." in name or ".1." in name
        assert (in_block and weight.dim() == 2) or not gone.any(), "only linears of blocks are pruned"
        zeros += int((weight == 0).sum()) if in_block and weight.dim() == 2 else 0
    record = pruned.record["prune"]
    assert zeros == round(record["achieved_sparsity"] * record["prunable_weights"])
    assert pruned.sparsity == pytest.approx(0.5, abs=1e-3)


def check_dtypes(stored: dict[str, torch.dtype], directory: Path) -> None:
    """Every tensor of the export has the dtype that it had, and config.json says the one of the blocks' weights."""
    exported: dict[str, torch.dtype] = {}
    for file in directory.glob("*.safetensors"):
        exported |= {name: tensor.dtype for name, tensor in layouts.load_file(file).items()}
    for name, dtype in stored.items():
        if name in exported:
            assert exported[name] == dtype, name
    assert sum(name in exported for name in stored) >= len(stored) - 1, "only a head and its embedding may change names"
    config = json.loads((directory / "config.json").read_text())
    block = next(
        dtype for name, dtype in stored.items() if name.endswith(("_proj.weight", "dense.weight")) and ".0." in name
    )
    assert config["dtype"] == config["torch_dtype"] == str(block).removeprefix("torch.")


@pytest.mark.parametrize("compute", ["bfloat16", "float32"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_keep_their_bits_whatever_the_forward_passes_run_in(dtype: str, compute: str, tmp_path: Path) -> None:
    directory = layouts.make(tmp_path / "model", "llama", dtype)
    options: dict[str, Any] = {"dtype": compute, "batch_size": 2, "threads": 1}
    pruned = prunebench.prune(directory, WINDOWS, out=tmp_path / "out", method="wanda", sparsity=0.5, **options)
    check_kept(parameters(directory), parameters(pruned.directory), pruned)
    updated = prunebench.prune(directory, WINDOWS, out=tmp_path / "two", method="sparsegpt", sparsity=0.5, **options)
    check_dtypes({name: tensor.dtype for name, tensor in layouts.tensors(directory).items()}, updated.directory)
    assert perplexity(updated.directory) == pytest.approx(plain_perplexity(updated.directory), rel=1e-4)
