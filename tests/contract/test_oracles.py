"""Methods inside the engine against the float64 oracles, on the statistics that the engine itself produces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

import tiny
from contract.test_methods import prune
from oracles import masks as oracle
from oracles import scores
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import SiteStatistic
from prunebench.methods.magnitude import Magnitude
from prunebench.methods.ria import RIA
from prunebench.methods.wanda import Wanda
from prunebench.patterns import UNSTRUCTURED, Pattern
from prunebench.registry import load
from prunebench.storage.tensors import TensorStore


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_masks_are_the_oracles(data: st.DataObject) -> None:
    group = data.draw(st.sampled_from([0, 3, 4, 8]))
    keep = data.draw(st.integers(1, group - 1)) if group else 0
    rows, columns = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12)) * (group or 1)
    sparsity = data.draw(st.integers(0, 99).map(lambda percent: f"{percent / 100:.2f}"))
    dtype = data.draw(st.sampled_from([torch.bfloat16, torch.float32]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    weight = torch.randn(rows, columns, generator=generator).to(dtype)
    inputs = torch.randn(30, columns, generator=generator).to(dtype)
    statistic = SiteStatistic()
    statistic.add(inputs[:11], {Stat.SITE_NORM})
    statistic.add(inputs[11:], {Stat.SITE_NORM})
    pattern = Pattern(keep, group) if group else UNSTRUCTURED
    exact, exact_inputs = weight.double().numpy(), inputs.double().numpy()
    for method, score, unstructured in (
        (Wanda(), oracle.wanda_scores(exact, exact_inputs), oracle.row_mask),
        (Magnitude(), oracle.magnitude_scores(exact), oracle.matrix_mask),
        (RIA(), scores.ria(exact, exact_inputs, 0.5), oracle.row_mask),
    ):
        mask = oracle.group_mask(score, keep, group) if group else unstructured(score, sparsity)
        pruned = method.prune_site({"w": weight}, statistic, {"w": float(sparsity)}, pattern)["w"].weight
        assert pruned.dtype == dtype
        assert np.array_equal(pruned.double().numpy(), np.where(mask, 0.0, exact))


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_a_whole_wanda_run_equals_a_plain_one(name: str, tmp_path: Path) -> None:
    """Block by block with plain transformers modules and oracle masks: the order of statistics, pruning, re-forward."""
    directory = tiny.make_model(tmp_path / "model", name, blocks=3)
    pruned, _ = prune((name, directory), Wanda(), "unstructured", 0.5, tmp_path / "scratch", torch.float32)
    family = load("models", tiny.ARCHITECTURES[name][0])
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    tokens = tiny.tokens(6, 16)
    for block in range(3):
        seen: dict[str, list[torch.Tensor]] = {}
        handles = [
            model.get_submodule(family.full_name(block, linear)).register_forward_pre_hook(
                lambda _, args, linear=linear, seen=seen: seen.setdefault(linear, []).append(args[0].flatten(0, -2))
            )
            for linear in family.linears()
        ]
        with torch.no_grad():
            for batch in tokens.split(4):
                model(batch)
        for handle in handles:
            handle.remove()
        for linear in family.linears():
            module = model.get_submodule(family.full_name(block, linear))
            weight = module.weight.detach().double().numpy()
            scores = oracle.wanda_scores(weight, torch.cat(seen[linear]).double().numpy())
            expected = np.where(oracle.row_mask(scores, "0.50"), 0.0, weight)
            ours = pruned[f"{family.full_name(block, linear)}.weight"]
            assert np.array_equal(ours.double().numpy(), expected), (block, linear)
            module.weight.data = torch.from_numpy(expected).float()


def test_the_dense_weights_on_disk_are_never_touched(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    before = {key: TensorStore(directory)[key].clone() for key in TensorStore(directory)}
    prune(("llama", directory), Wanda(), "unstructured", 0.7, tmp_path / "scratch")
    after = TensorStore(directory)
    assert all(torch.equal(before[key], after[key]) for key in before)
