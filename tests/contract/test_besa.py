"""BESA as method and as allocator: what it learns is worth it, its budget is exact, it goes on where it was killed."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from contract.test_allocators import Opened, running
from contract.test_methods import prune
from jobs import prune_job
from oracles import besa as oracle
from prunebench.allocators.besa import Besa as Allocator
from prunebench.engine.activations import embed
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.block import BlockView
from prunebench.engine.contract import Method
from prunebench.engine.loop import prune_model
from prunebench.errors import CellFailure
from prunebench.methods.besa import Besa
from prunebench.methods.wanda import Wanda
from prunebench.patterns import UNSTRUCTURED
from prunebench.plan import paths
from prunebench.stages.allocate import allocate
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import PackedStore, TensorStore

TOKENS = tiny.tokens(6, 16)


def run(
    directory: Path,
    name: str,
    method: Method,
    allocation: dict[str, float],
    work: Path,
    tokens: torch.Tensor = TOKENS,
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """(changed weights, records) of a prune in float32."""
    base = TensorStore(directory, torch.bfloat16)
    scratch = Scratch(work, base)
    records = prune_model(
        tiny.open_model(directory, name), method, allocation, UNSTRUCTURED, tokens, scratch, batch_size=4
    )
    scratch.merge(len(records), work / "all.safetensors")
    return dict(PackedStore(work / "all.safetensors", base)), records


def zeros_of(record: dict[str, Any], linears: list[str]) -> int:
    """Weights that were pruned; random weights in bf16 may hold a zero of their own, which counts as one of them."""
    return sum(record["linears"][linear]["zeros"] for linear in linears)


SIZES: dict[str, dict[str, int]] = {
    "llama": {"hidden_size": 64, "intermediate_size": 128},
    "opt": {"hidden_size": 64, "ffn_dim": 128, "word_embed_proj_dim": 64},
}
"""The rows are so long that a change of the sparsity by a hundredth is a change of some weights."""


@pytest.mark.parametrize("sparsity", [0.5, 0.7])
@pytest.mark.parametrize(("name", "granularity"), [("llama", "row"), ("llama", "matrix"), ("opt", "row")])
def test_it_beats_one_sparsity_for_all(name: str, granularity: str, sparsity: float, tmp_path: Path) -> None:
    """With equally many zeros, BESA's objective is lower, over several models, by more than four standard errors."""
    gains = []
    for seed in range(6):
        directory = tiny.make_model(tmp_path / f"{seed}", name, seed=seed, blocks=1, **SIZES[name])
        sizes = linear_sizes(directory, tiny.open_model(directory, name).family)
        method = Besa(Besa.Params(granularity=granularity))
        allocation = dict.fromkeys(sizes, sparsity)
        _, (record,) = run(directory, name, method, allocation, tmp_path / f"{seed}/work", tiny.tokens(8, 48))
        gains.append(np.log(record["error"]["uniform"] / record["error"]["learned"]))
    assert np.mean(gains) > max(0.1, 4 * np.std(gains, ddof=1) / np.sqrt(len(gains)))


def test_recorded_errors_are_those_of_the_blocks_outputs(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    sizes = linear_sizes(directory, tiny.open_model(directory).family)
    weights, records = run(directory, "llama", Besa(), dict.fromkeys(sizes, 0.6), tmp_path / "work")
    model = tiny.reference(directory)
    dense, after = [], []
    block = model.model.layers[0]
    for kept in (dense, after):
        handle = block.register_forward_hook(lambda _, __, output, kept=kept: kept.append(output))
        with torch.no_grad():
            for sample in TOKENS:
                model(sample[None])
        handle.remove()
        for key, weight in weights.items():
            if key.startswith("model.layers.0."):
                model.get_parameter(key).data = weight.float()
    expected = [oracle.error(z[0].double().numpy(), y[0].double().numpy()) for y, z in zip(dense, after, strict=True)]
    assert records[0]["error"]["learned"] == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("granularity", ["row", "matrix"])
def test_the_budget_of_a_block_is_that_of_its_allocation(granularity: str, tmp_path: Path) -> None:
    """Linears at 0 and 1 stay there and the others share the rest. A block with no zeros to make is left alone."""
    directory = tiny.make_model(tmp_path / "model", blocks=3)
    sizes = linear_sizes(directory, tiny.open_model(directory).family)
    blocks = [[linear for linear in sizes if f".{block}." in linear] for block in range(3)]
    first, whole, none = blocks
    fixed = {first[0]: 0.0, first[1]: 1.0}
    asked = {linear: 0.2 + 0.1 * i for i, linear in enumerate(first)} | fixed
    allocation = asked | dict.fromkeys(whole, 1.0) | dict.fromkeys(none, 0.0)
    method = Besa(Besa.Params(granularity=granularity))
    weights, records = run(directory, "llama", method, allocation, tmp_path / "work")
    assert f"{first[0]}.weight" not in weights and not weights[f"{first[1]}.weight"].any()
    assert not any(weights[f"{linear}.weight"].any() for linear in whole)
    assert not any(f"{linear}.weight" in weights for linear in none)
    free = first[2:]
    count = {linear: sizes[linear][0] * sizes[linear][1] for linear in first}
    wanted = sum(allocation[linear] * count[linear] for linear in free)
    assert records[0]["budget"] == pytest.approx(wanted / sum(count[linear] for linear in free))
    # Rows: to a weight. Matrices: to the rounding of their rows.
    slack = 1 if granularity == "row" else sum(0.5 * sizes[linear][0] for linear in free) + 1
    assert abs(zeros_of(records[0], free) - wanted) <= slack
    assert len({records[0]["linears"][linear]["sparsity"] for linear in free}) > 1
    for linear in free:
        learned, (least, most) = (records[0]["linears"][linear][key] for key in ("sparsity", "rows"))
        by_row = (weights[f"{linear}.weight"] == 0).double().mean(1)
        assert (least, most) == (float(by_row.min()), float(by_row.max()))
        assert learned == pytest.approx(float(by_row.mean()), abs=0.5 / sizes[linear][1] + 1e-9)
        assert (least < most) == (granularity == "row")


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_wanda_by_the_allocator_is_the_method_by_matrices(name: str, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", name, blocks=3)
    family = tiny.open_model(directory, name).family
    anatomy = Opened(directory, family, torch.bfloat16)
    allocation = Allocator().allocate(running(anatomy, tmp_path / "scratch"), 0.6)
    assert len({*allocation.values()}) > len(allocation) / 2
    uniform = dict.fromkeys(anatomy.sizes, 0.6)
    method = Besa(Besa.Params(granularity="matrix"))
    expected, _ = run(directory, name, method, uniform, tmp_path / "besa")
    weights, _ = run(directory, name, Wanda(), allocation, tmp_path / "wanda")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in weights)


def test_at_one_half_the_published_start_is_the_same(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    released = Besa(Besa.configure("released"))
    for sparsity, same in ((0.5, True), (0.7, False)):
        one, _ = prune(("llama", directory), Besa(), "unstructured", sparsity, tmp_path / f"a{sparsity}")
        other, _ = prune(("llama", directory), released, "unstructured", sparsity, tmp_path / f"b{sparsity}")
        assert all(torch.equal(one[key], other[key]) for key in one) == same


def test_scores_that_are_not_finite_fail_the_cell(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", blocks=1)
    model = tiny.open_model(directory)
    with model.block(0) as module:
        module.input_layernorm.weight.data[0] = torch.nan
        view = BlockView(module, 0, embed(model, TOKENS, 4), model=model)
        with pytest.raises(CellFailure, match="NaN or infinite"):
            statistics = view.statistics(Besa.needs, [site.name for site in view.sites])
            Besa().prune_block(view, statistics, dict.fromkeys(view.full_names, 0.5), UNSTRUCTURED)


@pytest.mark.parametrize("batch_size", [4, 6, 1])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_one_sample_of_a_batch_gives_what_the_batch_gives(name: str, batch_size: int, tmp_path: Path) -> None:
    """One case has batches as large as samples are long, so that axes could be mistaken for one another."""
    model = tiny.open_model(tiny.make_model(tmp_path, name), name)
    tokens = tiny.tokens(10, 6)
    with model.block(0) as module, torch.no_grad():
        view = BlockView(module, 0, embed(model, tokens, batch_size), model=model)
        assert len(view.samples) == 10
        whole = torch.cat(view.outputs())
        rows = torch.cat([view.forward(batch, row=row) for batch, row in view.samples])
    assert torch.allclose(rows, whole, rtol=1e-4, atol=1e-5)
    assert len(set(whole[:, -1, 0].tolist())) == 10


def test_a_killed_allocation_goes_on_with_the_next_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = prune_job(tmp_path, method="magnitude", allocator="besa", blocks=3)
    where = job.cell.wildcards
    spec = job.plan.allocation(job.cell).spec
    done = tmp_path / job.plan.allocation(job.cell).outputs[0]
    undisturbed = done.read_bytes()
    recorded = json.loads(undisturbed)
    assert recorded["status"] == "ok" and len({*recorded["sparsities"].values()}) > 1
    done.unlink()

    def again() -> None:
        allocate(
            spec,
            model=tmp_path / paths.MODEL.format(**where),
            allocation=done,
            measured=tmp_path / "again.json",
            tokens=tmp_path / paths.TOKENS.format(**where),
        )

    save = Scratch.save

    def die(self: Scratch, block: int, *rest: Any) -> None:
        if block == 2:
            raise KeyboardInterrupt
        save(self, block, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Scratch, "save", die)
        with pytest.raises(KeyboardInterrupt):
            again()
    assert not done.exists()
    (left,) = done.parent.glob(".*")
    assert len(list(left.glob("block_*"))) == 2
    with caplog.at_level(logging.INFO, "prunebench"):
        again()
    assert "resuming at block 2" in caplog.text
    assert done.read_bytes() == undisturbed and not list(done.parent.glob(".*"))
    assert json.loads((tmp_path / "again.json").read_text())["resumed_at"] == 2
