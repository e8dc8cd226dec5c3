"""Packed checkpoints: what pruning gives is what evaluation reads, in little space, from the right model only."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import tiny
from contract.test_methods import prune
from prunebench.errors import PrunebenchError
from prunebench.registry import load
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import PackedStore, TensorStore

SIZES = {"hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 4, "num_key_value_heads": 2}


def header(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    entries: dict[str, Any] = json.loads(content[8 : 8 + length])
    entries.pop("__metadata__")
    return entries


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("model"), **SIZES)


# The bit of each weight, three values of sixteen bits out of ten, and headers.
@pytest.mark.parametrize(("method", "share"), [("wanda", 1 / 16), ("sparsegpt", 0.3 + 1 / 16)])
def test_size_is_in_proportion_to_what_is_left(method: str, share: float, model: Path, tmp_path: Path) -> None:
    weights, _ = prune(("llama", model), load("methods", method)(), "unstructured", 0.7, tmp_path)
    dense = sum(weight.nbytes for weight in weights.values())
    packed = (tmp_path / "all.safetensors").stat().st_size
    assert share * dense <= packed <= share * dense + 4096
    assert packed < 0.55 * dense


def test_a_tensor_that_is_not_packed_is_as_it_was(model: Path, tmp_path: Path) -> None:
    base = TensorStore(model, torch.bfloat16)
    norm, linear = "model.norm.weight", "model.layers.0.mlp.up_proj.weight"
    changed = {norm: base[norm] * 2, linear: base[linear] * 2}
    scratch = Scratch(tmp_path, base)
    scratch.save(0, changed, {})
    scratch.merge(1, tmp_path / "all.safetensors")
    assert header(tmp_path / "all.safetensors").keys() == changed.keys()
    store = PackedStore(tmp_path / "all.safetensors", base)
    assert len(store) == 2 and all(torch.equal(store[name], changed[name]) for name in changed)


def test_what_a_fresh_run_sees_is_what_a_resumed_one_sees(model: Path, tmp_path: Path) -> None:
    """Both runs see the same bits, down to the sign of zero, which a mask does not keep."""
    base = TensorStore(model, torch.bfloat16)
    name = "model.layers.0.mlp.up_proj.weight"
    pruned = base[name].masked_fill(base[name] < 0.1, -0.0)
    seen = [Scratch(tmp_path, base).get_or(0, lambda: ({name: pruned}, {"a": 1})) for _ in range(2)]
    assert torch.equal(*(weights[name].view(torch.int16) for weights, _ in seen))
    assert torch.equal(seen[0][0][name], pruned)
    assert [record for _, record in seen] == [{"a": 1}] * 2


def test_values_are_aligned_however_odd_the_shapes(tmp_path: Path) -> None:
    tensors = {f"{kind}{block}": torch.randn(3, 5).bfloat16() for block in range(3) for kind in "ab"}
    save_file(tensors, tmp_path / "model.safetensors")
    base = TensorStore(tmp_path / "model.safetensors")
    scratch = Scratch(tmp_path / "scratch", base)
    pruned = {name: tensor.masked_fill(tensor < 0.5, 0) for name, tensor in tensors.items()}
    for block in range(3):
        scratch.save(block, {f"a{block}": pruned[f"a{block}"], f"b{block}": -pruned[f"b{block}"]}, {})
    scratch.merge(3, tmp_path / "all.safetensors")
    entries = header(tmp_path / "all.safetensors")
    assert sorted(entries)[:3] == ["a0.mask", "a1.mask", "a2.mask"]
    assert sorted(entries)[3:] == [f"b{block}.{part}" for block in range(3) for part in ("mask", "values")]
    assert all(entry["data_offsets"][0] % 2 == 0 for entry in entries.values() if entry["dtype"] == "BF16")
    store = PackedStore(tmp_path / "all.safetensors", base)
    assert all(torch.equal(store[name], weight if name.startswith("a") else -weight) for name, weight in pruned.items())


def test_weights_of_another_model_are_refused(model: Path, tmp_path: Path) -> None:
    base = TensorStore(model, torch.bfloat16)
    name = "model.layers.1.mlp.up_proj.weight"
    scratch = Scratch(tmp_path / "scratch", base)
    scratch.save(0, {name: base[name].masked_fill(base[name] < 0, 0)}, {})
    scratch.merge(1, tmp_path / "all.safetensors")
    shallow = TensorStore(tiny.make_model(tmp_path / "shallow", blocks=1, **SIZES))
    with pytest.raises(PrunebenchError, match=rf"all.safetensors holds '{name}', which .*shallow does not have"):
        PackedStore(tmp_path / "all.safetensors", shallow)
    narrow = TensorStore(tiny.make_model(tmp_path / "narrow", **SIZES | {"intermediate_size": 512}))
    with pytest.raises(PrunebenchError, match=rf"{name} was made from another model"):
        PackedStore(tmp_path / "all.safetensors", narrow)[name]


def test_tensors_are_rounded_as_they_are_read(tmp_path: Path) -> None:
    save_file({"w": torch.tensor([1 + 2**-10]), "ids": torch.tensor([300])}, tmp_path / "x.safetensors")
    store = TensorStore(tmp_path / "x.safetensors", torch.bfloat16)
    assert (store["w"].dtype, store["w"].item()) == (torch.bfloat16, 1.0)
    assert (store["ids"].dtype, store["ids"].item()) == (torch.int64, 300)
    assert TensorStore(tmp_path / "x.safetensors")["w"].item() == 1 + 2**-10
