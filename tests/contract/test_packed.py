"""A packed export is the model of the dense export: in its bits, in its losses, and in what it writes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from rich.filesize import decimal
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import prunebench
import tiny
from jobs import PruneJob, prune_job
from prunebench import registry
from prunebench.cli import app
from prunebench.config.values import Compute
from prunebench.errors import PrunebenchError
from prunebench.packed import kernels
from prunebench.packed.linear import PackedLinear
from prunebench.standalone.export import export, repack
from prunebench.standalone.measure import load, perplexity_of
from prunebench.storage.packed import PACKED, Packing

MODELS = {
    "llama": {},
    "tied": {"tie_word_embeddings": True},
    "untied, sharded": {"tie_word_embeddings": False, "shard": "20KB"},
    "biases": {"name": "opt"},
    "fused": {"name": "phi3"},
    "fused by head": {"name": "gpt_neox"},
    "odd widths": {"hidden_size": 40, "intermediate_size": 44, "head_dim": 10},
    "changed values": {"method": "sparsegpt"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> PruneJob:
    """A pruned cell; not to be changed."""
    job = prune_job(tmp_path_factory.mktemp("finished"), sparsity=0.7)
    job.run()
    return job


@pytest.fixture(scope="module")
def packed(finished: PruneJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its packed export; not to be changed."""
    directory = tmp_path_factory.mktemp("packed") / "model"
    export(str(finished.weights.parent), directory, packing=Packing())
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def logits(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens).logits.double()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_a_packed_model_is_the_dense_one(model: dict[str, object], tmp_path: Path) -> None:
    job = prune_job(tmp_path / "project", sparsity=0.7, **model)  # type: ignore[arg-type]
    job.run()
    cell = str(job.weights.parent)
    export(cell, tmp_path / "dense")
    export(cell, tmp_path / "packed", packing=Packing())
    repack(tmp_path / "packed", tmp_path / "again", None)
    assert contents(tmp_path / "again") == contents(tmp_path / "dense")
    loaded = prunebench.load(tmp_path / "packed", dtype="float32")
    linears = [module for module in loaded.modules() if isinstance(module, PackedLinear)]
    assert len(linears) == 2 * len(registry.load("models", job.plan.config.models["tiny"].family).linears())
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32)
    for tokens in (tiny.tokens(1, 1), tiny.tokens(1, 5), tiny.tokens(3, 20)):
        torch.testing.assert_close(logits(loaded, tokens), logits(reference, tokens), rtol=1e-4, atol=1e-4)
    brief = prunebench.load(tmp_path / "packed")
    assert brief.dtype == torch.bfloat16
    oracle, span = logits(reference, tiny.tokens(1, 5)), logits(reference, tiny.tokens(1, 5)).abs().max()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.bfloat16)
    theirs = (logits(plain, tiny.tokens(1, 5)) - oracle).abs().max()
    assert (logits(brief, tiny.tokens(1, 5)) - oracle).abs().max() <= 2 * theirs + 1e-3 * span


def test_the_file_is_smaller_and_from_pretrained_refuses_it(finished: PruneJob, packed: Path, tmp_path: Path) -> None:
    export(str(finished.weights.parent), tmp_path / "dense")
    assert (packed / PACKED).stat().st_size < (tmp_path / "dense/model.safetensors").stat().st_size
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(packed)
    said = json.loads((packed / "prunebench.json").read_text())
    assert said["packed"] == {"bits": None, "group": None}
    assert "packed" in (packed / "README.md").read_text()


def test_the_pipeline_evaluates_it(finished: PruneJob, packed: Path, tmp_path: Path) -> None:
    export(str(finished.weights.parent), tmp_path / "dense")
    compute = Compute(dtype="float32", batch_size=2, threads=1)
    windows = tiny.tokens(4, 20).numpy()
    dense, same = (perplexity_of(load(str(model), compute), windows, "text") for model in (tmp_path / "dense", packed))
    assert same.value == dense.value
    subject = load(str(packed), compute).subject
    whole = subject.whole()
    assert any(isinstance(module, PackedLinear) for module in whole.modules())
    assert load(str(packed), compute).sparsity == load(str(tmp_path / "dense"), compute).sparsity


def test_generation_and_lm_eval_take_it(finished: PruneJob, packed: Path, tmp_path: Path) -> None:
    export(str(finished.weights.parent), tmp_path / "dense")
    model = prunebench.load(packed, dtype="float32")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32)
    prompt = tiny.tokens(2, 6)
    options = {"max_new_tokens": 12, "do_sample": False}
    assert torch.equal(model.generate(prompt, **options), reference.generate(prompt, **options))
    harness = HFLM(model, tokenizer=tiny.make_tokenizer(), batch_size=1)
    theirs = HFLM(reference, tokenizer=tiny.make_tokenizer(), batch_size=1)
    pairs = [
        harness._loglikelihood_tokens([(("a", "b"), [3, 4], [5, 6])], disable_tqdm=True)
        for harness in (harness, theirs)
    ]
    assert pairs[0][0][0] == pytest.approx(pairs[1][0][0], rel=1e-4)
    with pytest.raises(PrunebenchError, match="--dense"):
        model.save_pretrained(tmp_path / "saved")


@pytest.mark.parametrize("group", [64, 2**40, 2**62])
def test_a_group_longer_than_a_row_is_the_row(finished: PruneJob, tmp_path: Path, group: int) -> None:
    assert {width: Packing(8, group).columns(width) for width in (32, 33, 48)} == {32: 32, 33: 64, 48: 64}
    export(str(finished.weights.parent), tmp_path / "long", packing=Packing(8, group))
    export(str(finished.weights.parent), tmp_path / "row", packing=Packing(8))
    assert (tmp_path / "long" / PACKED).read_bytes() == (tmp_path / "row" / PACKED).read_bytes()


@pytest.mark.parametrize("group", [None, 32])
@pytest.mark.parametrize("path", [kernels.AUTO, kernels.PORTABLE])
def test_values_of_8_bits_are_near(
    finished: PruneJob, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int | None, path: str
) -> None:
    monkeypatch.setenv(kernels.SWITCH, path)
    export(str(finished.weights.parent), tmp_path / "dense")
    repack(tmp_path / "dense", tmp_path / "brief", Packing(8, group))
    repack(tmp_path / "brief", tmp_path / "again", None)
    tokens = tiny.tokens(1, 5)
    model = prunebench.load(tmp_path / "brief", dtype="float32")
    assert sum(isinstance(module, PackedLinear) for module in model.modules()) == 2 * 7
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32)
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32)
    before, after = oracle.state_dict(), rounded.state_dict()
    for name in before:
        assert torch.equal(before[name] == 0, after[name] == 0) or "weight" in name
        step = before[name].abs().max() / 127
        assert (before[name] - after[name]).abs().max() <= step
    # The packed model computes with exact products of values and scales, which bfloat16 would round.
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear):
            exact = replace(module.matrix, dtype=torch.float32).expanded()
            oracle.get_submodule(name).weight.data = exact
            assert (exact - after[f"{name}.weight"]).abs().max() <= exact.abs().max() / 256
    torch.testing.assert_close(logits(model, tokens), logits(oracle, tokens), rtol=1e-4, atol=1e-4)
    assert (tmp_path / "brief" / PACKED).stat().st_size < (packed / PACKED).stat().st_size


def damaged(packed: Path, tmp_path: Path, how: str) -> Path:
    """A copy of `packed` with a damaged file."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in contents(packed).items():
        (copy / name).write_bytes(content)
    content = bytearray((packed / PACKED).read_bytes())
    if how == "a flipped bit":
        content[-3] ^= 4
    elif how == "a flipped bit of the header":
        content[content.index(b'\\"shape\\"') + 3] ^= 1
    elif how == "cut short":
        del content[-20:]
    elif how == "empty":
        content.clear()
    else:
        content = bytearray(content.replace(b"prunebench packed 1", b"prunebench packed 9"))
    (copy / PACKED).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    "how", ["a flipped bit", "a flipped bit of the header", "cut short", "empty", "another format"]
)
def test_damage_is_told_in_one_line(packed: Path, tmp_path: Path, how: str) -> None:
    copy = damaged(packed, tmp_path, how)
    with pytest.raises(PrunebenchError, match=rf"{PACKED}.*: export the model again") as caught:
        prunebench.load(copy)
    assert "\n" not in str(caught.value) and "download" not in str(caught.value)
    run = CliRunner().invoke(app, ["export", "--dense", str(copy), str(tmp_path / "out")])
    assert run.exit_code == 1 and PACKED in run.output and not (tmp_path / "out").exists()


@pytest.mark.parametrize("shard", ["1GB", "20KB"], ids=["one file", "shards"])
def test_files_that_belong_to_the_making_of_a_model_stay_behind(shard: str, tmp_path: Path) -> None:
    model = tiny.make_model(tmp_path / "model", shard=shard)
    assert (model / "model.safetensors.index.json").exists() == (shard == "20KB")
    left = ("asset.json", "trainer_state.json", "eval_results.json", "adapter_model.json")
    kept = ("LICENSE", "README.md", "chat_template.jinja")
    for name in (*left, *kept):
        (model / name).write_text("{}")
    repack(model, tmp_path / "packed", Packing())
    repack(tmp_path / "packed", tmp_path / "again", None)
    assert prunebench.load(tmp_path / "packed").dtype == torch.bfloat16
    stay = {path.name for path in model.iterdir()} - {*left}
    assert {path.name for path in (tmp_path / "again").iterdir()} == stay
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {
        PACKED,
        *(name for name in stay if not name.startswith("model")),
    }


MISTAKES = {
    "--dense --packed": "choose one",
    "--bits 8": "--packed",
    "--packed --bits 7": "8 bits",
    "--packed --group 64": "--bits 8",
    "--packed --bits 8 --group 40": "multiple of 32",
    "--packed": "packed already",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_options_without_meaning(packed: Path, tmp_path: Path, options: str) -> None:
    run = CliRunner().invoke(app, ["export", str(packed), str(tmp_path / "out"), *options.split()])
    assert run.exit_code == 1 and MISTAKES[options] in run.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_prune_writes_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.make_model(tmp_path / "model")
    command = ["prune", str(tmp_path / "model"), "--method", "magnitude", "--sparsity", "0.6", "--threads", "1"]
    run = CliRunner().invoke(app, [*command, "--packed", "--out", str(tmp_path / "packed")])
    assert run.exit_code == 0, run.output
    told = run.stdout.strip()
    run = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "dense")])
    assert run.exit_code == 0 and "; packed" not in run.stdout, run.output
    size = decimal((tmp_path / "packed" / PACKED).stat().st_size)
    # The header of a file of safetensors is no weight.
    (dense,) = re.findall(rf"; packed, {size}, dense ([\d.]+ kB); load it by prunebench\.load$", told)
    assert float(dense.split()[0]) == pytest.approx(
        (tmp_path / "dense/model.safetensors").stat().st_size / 1e3, rel=0.2
    )
    run = CliRunner().invoke(app, ["export", str(tmp_path / "dense"), str(tmp_path / "third"), "--packed"])
    assert f", packed, {size}, dense {dense}; load it by prunebench.load" in run.stdout, run.output
    repack(tmp_path / "packed", tmp_path / "again", None)
    weights = "model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (tmp_path / "dense" / weights).read_bytes()
