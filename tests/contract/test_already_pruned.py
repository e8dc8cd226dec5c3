"""Models that have zeros already: these stay, count towards the target, and excuse no more zeros than they are."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import tiny
from contract.test_methods import PRUNING, QUICK, prune, supports
from jobs import prune_job
from oracles import masks as oracle
from prunebench.allocators.base import check_budget
from prunebench.cli import app
from prunebench.engine import sparsity
from prunebench.engine.anatomy import Anatomy, RunInputs, linear_sizes
from prunebench.engine.profile import profile_model
from prunebench.errors import CellFailure
from prunebench.formulas import masks
from prunebench.methods.magnitude import Magnitude
from prunebench.registry import load, ready
from prunebench.search.fitness import MaskedWeights
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import TensorStore

SOURCES = ["magnitude_50", "owl_60", "first_half", "2of4", "v_proj", "ffn_in", "neurons"]
POINTS = [("unstructured", 0.5), ("unstructured", 0.6), ("2of4", 0.5)]
UNITS = {
    **dict.fromkeys(("wanda", "ria", "pruner_zero", "reconstruct"), "rows"),
    **dict.fromkeys(("sparsegpt", "sparsellm"), "strips"),
}
"""Where methods count zeros, if not in the whole matrix; besa does in the whole block."""
MASKING = ("magnitude", "wanda", "ria", "random", "pruner_zero", "besa")
STRIP = 128
COMPUTE = ["--batch-size", "2", "--threads", "1"]
# Wider than a strip of SparseGPT, so that there are two.
SIZES = {"llama": {"hidden_size": 144, "intermediate_size": 160}, "opt": {"hidden_size": 144, "ffn_dim": 160}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every source, named ARCHITECTURE-SOURCE, their dense models, and tokens.npy."""
    root = tmp_path_factory.mktemp("models")
    np.save(root / "tokens.npy", tiny.tokens(4, 16).numpy())
    for name in ("llama", "opt"):
        tiny.make_model(root / f"{name}-dense", name, **SIZES[name])
        calibrated = ["--method", "wanda", "--calibration", root / "tokens.npy"]
        by_command = {
            "magnitude_50": ["--method", "magnitude", "--sparsity", 0.5],
            "owl_60": [*calibrated, "--sparsity", 0.6, "--allocator", "owl"],
            "first_half": [*calibrated, "--sparsity", 0.5, "--allocator", "first_half"],
            "2of4": ["--method", "magnitude", "--pattern", "2of4"],
        }
        for source, words in by_command.items():
            run("prune", root / f"{name}-dense", "--out", root / f"{name}-{source}", *words, *COMPUTE)
        inputs = {"llama": "mlp.gate_proj", "opt": "fc1"}[name]
        zeroed(root, name, "v_proj", without_values)
        # With its biases.
        zeroed(root, name, "ffn_in", lambda key, w, part=inputs: w.zero_() if f"0.{part}" in key else w)
        zeroed(root, name, "neurons", without_neurons)
    return root


def without_neurons(key: str, weight: torch.Tensor) -> torch.Tensor:
    """The tensor without two thirds of the FFN's neurons and their biases."""
    if any(part in key for part in ("gate_proj", "up_proj", "fc1")):
        weight[: len(weight) * 2 // 3] = 0
    return weight


def without_values(key: str, weight: torch.Tensor) -> torch.Tensor:
    """The tensor in a block without values: the inputs of the output projection are 0, and some of its weights too."""
    if "0.self_attn.v_proj" in key:
        return weight.zero_()
    if "0.self_attn.o" in key and weight.ndim == 2:
        weight[:, 100:] = 0
    return weight


def zeroed(root: Path, name: str, source: str, change: Any) -> None:
    """Write a copy of the dense model with its tensors changed."""
    tiny.make_model(root / f"{name}-{source}", name, **SIZES[name])
    file = root / f"{name}-{source}/model.safetensors"
    save_file({key: change(key, tensor) for key, tensor in load_file(file).items()}, file, metadata={"format": "pt"})


def run(*words: Any) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def expected(method: str, weight: torch.Tensor, pattern: str, share: float) -> tuple[int, int]:
    """(zeros, zeros beyond the target) of one pruned matrix, counted unit by unit."""
    unit, size = ("groups", 4) if pattern == "2of4" else (UNITS.get(method, "matrix"), STRIP)
    zeros = beyond = 0
    for part in oracle.units(weight.float().numpy(), unit, size):
        had = int((part == 0).sum())
        asked = 2 if pattern == "2of4" else oracle.nearest(part.size, f"{share:.2f}")
        zeros += max(had, asked)
        beyond += max(0, had - asked)
    return zeros, beyond


def check(method: str, before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], pattern: str) -> None:
    """Check every pruned matrix, by its full name."""
    for name, weight in after.items():
        assert (weight[before[name] == 0] == 0).all(), f"{name}: zeros were filled"
        if method in MASKING:
            assert torch.equal(weight[weight != 0], before[name][weight != 0]), f"{name}: kept weights changed"
        if pattern == "2of4":
            assert ((weight == 0).reshape(len(weight), -1, 4).sum(-1) >= 2).all()


@pytest.mark.parametrize(("pattern", "share"), POINTS)
@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["llama", "opt"])
def test_the_command_line_prunes_it_further(
    name: str,
    source: str,
    method: str,
    pattern: str,
    share: float,
    models: Path,
    tmp_path: Path,
) -> None:
    what = ["--pattern", pattern] if pattern == "2of4" else ["--sparsity", share]
    drawn = [] if method == "magnitude" else ["--calibration", models / "tokens.npy"]
    model, out = models / f"{name}-{source}", tmp_path / "out"
    said = json.loads(run("prune", model, "--out", out, "--method", method, *what, *drawn, *COMPUTE, "--json"))
    linears = [f"{linear}.weight" for linear in linear_sizes(model, load("models", tiny.ARCHITECTURES[name][0]))]
    before, after = (load_file(directory / "model.safetensors") for directory in (model, out))
    check(method, before, {linear: after[linear] for linear in linears}, pattern)
    counts = {linear: expected(method, before[linear], pattern, share) for linear in linears}
    for linear, (zeros, _) in counts.items():
        assert int((after[linear] == 0).sum()) == zeros, linear
    record = said["prune"]
    assert record["achieved_sparsity"] == sum(zeros for zeros, _ in counts.values()) / record["prunable_weights"]
    beyond = sum(beyond for _, beyond in counts.values())
    assert record["zeros_beyond_target"] == beyond
    assert ("Beyond the target" in (out / "README.md").read_text()) == (beyond > 0)
    untouched = before.keys() - set(linears)
    assert all(torch.equal(after[tensor], before[tensor]) for tensor in untouched)


@pytest.mark.parametrize(("pattern", "share"), POINTS)
@pytest.mark.parametrize("method", sorted({*PRUNING} - {"magnitude", "wanda", "sparsegpt"}))
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["llama", "opt"])
def test_every_method_prunes_it_further(
    name: str, source: str, method: str, pattern: str, share: float, models: Path, tmp_path: Path
) -> None:
    if not supports(method, pattern, share):
        pytest.skip("the method does not do n:m")
    model = models / f"{name}-{source}"
    plugin = load("methods", method)
    params = {**QUICK, "besa": {"steps": 4}}.get(method, {})
    weights, records = prune((name, model), plugin(plugin.configure(overrides=params)), pattern, share, tmp_path)
    before = load_file(model / "model.safetensors")
    check(method, before, weights, pattern)
    for record in records:
        linears = record["linears"]
        if method == "besa":
            counts = sparsity.totals(linears.values())
            asked = masks.pruned_count(counts["weights"], share)
            assert counts["zeros_beyond_target"] == max(0, counts["already_zero"] - asked)
            assert counts["zeros"] == max(counts["already_zero"], asked)
            assert all(linear["zeros_beyond_target"] <= linear["already_zero"] for linear in linears.values())
            continue
        for linear, counted in linears.items():
            pair = expected(method, before[f"{linear}.weight"], pattern, share)
            assert (counted["zeros"], counted["zeros_beyond_target"]) == pair, linear
            assert counted["zeros"] == int((weights[f"{linear}.weight"] == 0).sum())


VARIANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("wanda", "released", {}),
    ("magnitude", "released", {}),
    ("ria", "released", {}),
    ("sparsegpt", "released", {}),
    ("besa", "released", {"steps": 4}),
    ("besa", "paper", {"steps": 4, "granularity": "matrix"}),
    ("sparsellm", "tuned", {}),
    ("dense_fit", "paper", {"solver": "wanda"}),
    ("sparsellm", "paper", {"solver": "wanda", "epochs": 2, "keep_best": False}),
    ("sparsellm", "paper", {"targets": "after", "keep_best": False}),
    ("pruner_zero", "paper", {"expression": "neg(add(mul(W, W), X))"}),
]


@pytest.mark.parametrize(("method", "preset", "params"), VARIANTS)
@pytest.mark.parametrize("source", SOURCES)
def test_variants_do_not_fail_because_of_zeros(
    source: str, method: str, preset: str, params: dict[str, Any], models: Path, tmp_path: Path
) -> None:
    model, plugin = models / f"llama-{source}", load("methods", method)
    pruned = plugin(plugin.configure(preset, params))
    weights, records = prune(("llama", model), pruned, "unstructured", 0.6, tmp_path)
    before = load_file(model / "model.safetensors")
    if pruned.exact:
        check(method, before, weights, "unstructured")
    counts = sparsity.totals(linear for record in records for linear in record["linears"].values())
    assert counts["zeros"] / counts["weights"] >= 0.6 - 1 / 144
    if method == "besa" and params.get("granularity") == "matrix":
        for record in records:
            for name, linear in record["linears"].items():
                rows = (before[f"{name}.weight"] == 0).sum(dim=1)
                asked = masks.pruned_count(linear["inputs"], linear["sparsity"])
                assert linear["zeros_beyond_target"] == int((rows - asked).clamp(min=0).sum())
                assert linear["zeros"] == int(rows.clamp(min=asked).sum())
    if (method, preset) == ("wanda", "released"):
        for record in records:
            for name, linear in record["linears"].items():
                rows, asked = (before[f"{name}.weight"] == 0).sum(dim=1), int(linear["inputs"] * 0.6)
                assert linear["zeros_beyond_target"] == int((rows - asked).clamp(min=0).sum())


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("allocator", ready("allocators"))
def test_every_allocator_keeps_its_budget(
    allocator: str, source: str, released: bool, models: Path, tmp_path: Path
) -> None:
    plugin = load("allocators", allocator)
    if released and "released" not in plugin.presets:
        pytest.skip("the allocator has no such preset")
    params = {"steps": 4} if allocator == "besa" else {}
    found = anatomy(models / f"llama-{source}", tmp_path)
    shares = plugin(plugin.configure("released" if released else "paper", params)).allocate(found, 0.6)
    check_budget(shares, found.sizes, 0.6)


def anatomy(directory: Path, scratch: Path) -> Anatomy:
    """A model with its profile and what allocators need that run it."""
    streamed, tokens = tiny.open_model(directory), tiny.tokens(4, 16)
    save_file(profile_model(streamed, tokens, batch_size=2), scratch / "profile.safetensors")
    parts = Scratch(scratch / "parts", TensorStore(directory, torch.bfloat16))
    seen = RunInputs(directory, streamed.family, torch.bfloat16, tokens, torch.float32, 2, 0, parts)
    return Anatomy(directory, streamed.family, torch.bfloat16, scratch / "profile.safetensors", seen)


def test_the_spectrum_of_a_block_of_zeros_is_a_reason(models: Path, tmp_path: Path) -> None:
    found = anatomy(models / "llama-dense", tmp_path)
    shutil.copytree(models / "llama-dense", tmp_path / "model")
    weights = load_file(models / "llama-dense/model.safetensors")
    emptied = {key: w.zero_() if key.removesuffix(".weight") in found.blocks[1] else w for key, w in weights.items()}
    save_file(emptied, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    empty = Anatomy(tmp_path / "model", load("models", "llama"), torch.bfloat16)
    with pytest.raises(CellFailure, match=r"all weights of model\.layers\.1\.self_attn\.q_proj and the others"):
        load("allocators", "alphapruning")().allocate(empty, 0.5)


def test_zeros_come_before_weights_of_dead_inputs_in_a_global_ranking(models: Path, tmp_path: Path) -> None:
    """All inputs of block 0's o_proj are 0, and so are all scores of it and of v_proj, which is zero itself."""
    found = anatomy(models / "llama-v_proj", tmp_path)
    zeros = sum(int((found.weight(linear) == 0).sum()) for linear in found.sizes)
    shares = load("allocators", "global")().allocate(found, zeros / found.prunable_weights)
    assert shares["model.layers.0.self_attn.v_proj"] == pytest.approx(1, abs=1e-9)
    assert shares["model.layers.0.self_attn.o_proj"] == pytest.approx(44 / 144, abs=1e-9)


def test_masks_of_a_search_take_zeros_first(models: Path, tmp_path: Path) -> None:
    found = anatomy(models / "llama-magnitude_50", tmp_path)
    name = next(iter(found.sizes))
    dead = tmp_path / "dead.safetensors"
    save_file({key: norm.zero_() for key, norm in load_file(tmp_path / "profile.safetensors").items()}, dead)
    weights = MaskedWeights(Anatomy(models / "llama-magnitude_50", load("models", "llama"), torch.bfloat16, dead))
    rows = (found.weight(name) == 0).sum(dim=1)
    weights.counts = (40,) * len(weights)
    assert torch.equal((weights[f"{name}.weight"] == 0).sum(dim=1), rows.clamp(min=40))


def ignoring_zeros(self: Magnitude, weight: torch.Tensor, statistic: Any, sparsity: float, pattern: Any) -> Any:
    """A mask of half of the weights that are not zero yet."""
    left = int(weight.count_nonzero())
    return masks.lowest(weight.double().abs().reshape(1, -1), weight.numel() - left // 2).reshape(weight.shape)


def second_block(key: str, weight: torch.Tensor) -> torch.Tensor:
    """The tensor with half of its rows zero if it is a matrix of the second block."""
    return torch.cat([weight[:-16], weight[-16:] * 0]) if "layers.1." in key and weight.ndim == 2 else weight


def test_a_method_that_ignores_zeros_fails_at_the_block_and_goes_on_there(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["prune", "--out", tmp_path / "out", "--method", "magnitude", "--sparsity", 0.5, *COMPUTE]
    right, calls = Magnitude.mask, []

    def counting(mask: Any) -> Any:
        def counted(self: Magnitude, *words: Any) -> Any:
            calls.append(words)
            return mask(self, *words)

        return counted

    monkeypatch.setattr(Magnitude, "mask", counting(ignoring_zeros))
    result = CliRunner().invoke(app, [*map(str, command), str(models / "llama-magnitude_50")])
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "block 0: sparsity 0.7500 misses the target 0.5000 by more than" in message
    assert "is kept in" not in message and not (tmp_path / ".out.prune.part").exists(), "no block is finished"
    assert len(calls) == 7, "not a linear of the second block"

    zeroed(tmp_path, "llama", "uneven", second_block)
    calls.clear()
    result = CliRunner().invoke(app, [*map(str, command), str(tmp_path / "llama-uneven")])
    assert result.exit_code == 1 and "block 1: sparsity" in result.stderr
    assert len(calls) == 14
    assert f"is kept in {tmp_path / '.out.prune.part'}" in " ".join(result.stderr.split())
    (kept,) = (tmp_path / ".out.prune.part").rglob("block_*.safetensors")
    assert kept.name == "block_000.safetensors"

    monkeypatch.setattr(Magnitude, "mask", counting(right))
    calls.clear()
    result = CliRunner().invoke(app, [*map(str, command), str(tmp_path / "llama-uneven")])
    assert result.exit_code == 0 and "resuming at block 1" in result.stderr
    assert f"going on from an earlier run: 1 finished block in {tmp_path}" in " ".join(result.stderr.split())
    assert len(calls) == 7, "not a linear of the first block"
    assert not (tmp_path / ".out.prune.part").exists()


def test_a_study_keeps_the_blocks_of_a_cell_that_failed(tmp_path: Path) -> None:
    """The result of the cell says so, and the next run of the job begins after the blocks."""
    job = prune_job(tmp_path, method="magnitude", blocks=3)
    broken = "from prunebench.engine import loop\nfrom prunebench.errors import CellFailure\n"
    broken += "check = loop.check_block\n"
    broken += "def failing(block, *rest, **more):\n    if block == 2: raise CellFailure('it misses')\n"
    broken += "    check(block, *rest, **more)\n"
    broken += "loop.check_block = failing"
    process = job.start(broken)
    log = process.communicate()[1]
    assert process.returncode == 0 and job.result["status"] == "failed" and job.result["reason"] == "it misses"
    assert "blocks finished before the failure are kept: 2 in" in log
    assert len(list(job.scratch.glob("block_*.safetensors"))) == 2
    assert "resuming at block 2" in job.run()
    assert job.result["status"] == "ok" and not job.scratch.exists()


def test_a_failure_before_the_first_block_leaves_nothing(tmp_path: Path) -> None:
    job = prune_job(tmp_path, method="magnitude")
    broken = "from prunebench.engine import loop\nfrom prunebench.errors import CellFailure\n"
    broken += "def failing(*_): raise CellFailure('no')\nloop._prune_block = failing"
    process = job.start(broken)
    assert process.wait() == 0 and job.result["status"] == "failed"
    assert not job.scratch.exists()
