"""Directories that cannot be read as they are: one line that names the file and the remedy, before any work."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from typer.testing import CliRunner

import tiny
from checkpoints import layouts
from checkpoints.layouts import INDEX, WEIGHTS, rewrite, says, tensors
from prunebench.cli import app

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model; not to be changed."""
    return tiny.make_model(tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))


def overwrite(name: str, content: bytes) -> Change:
    """The file `name` holds `content`."""
    return lambda directory: (directory / name).write_bytes(content)


def cut(name: str, size: int) -> Change:
    """Only the first `size` bytes of a file arrived; of a negative `size`, all but so many."""
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:size])


def then(*changes: Change) -> Change:
    """One change after the other."""

    def apply(directory: Path) -> None:
        for change in changes:
            change(directory)

    return apply


def without(name: str) -> Change:
    """The file is not there."""
    return lambda directory: (directory / name).unlink()


def with_tensors(**added: torch.Tensor) -> Change:
    """More tensors, of names that have `__` for a dot."""
    named = {name.replace("__", "."): tensor for name, tensor in added.items()}
    return lambda directory: rewrite(directory, tensors(directory) | named)


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Change:
    """A tensor of another shape or dtype, or gone."""

    def apply(directory: Path) -> None:
        state = tensors(directory)
        tensor = change(state.pop(name))
        rewrite(directory, state if tensor is None else state | {name: tensor})

    return apply


def edit_index(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Shards whose index is changed."""

    def apply(directory: Path) -> None:
        layouts.shard(directory)
        index = json.loads((directory / INDEX).read_text())
        result = change(index)
        (directory / INDEX).write_text(json.dumps(index if result is None else result))

    return apply


def header(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """The header of the weights is changed, the data after it stay."""

    def apply(directory: Path) -> None:
        data = (directory / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        entries = json.loads(data[8 : 8 + length])
        edit(entries)
        text = json.dumps(entries).encode()
        (directory / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return apply


def adapter_only(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()
    (directory / "adapter_config.json").write_text("{}")
    save_file({"lora": torch.ones(2)}, directory / "adapter_model.safetensors")


def pickled_only(directory: Path) -> None:
    torch.save(tensors(directory), directory / "pytorch_model.bin")
    (directory / WEIGHTS).unlink()


Q = "model.layers.0.self_attn.q_proj.weight"
FIRST_SHARD = "model-00001-of-00002.safetensors"
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}
REFUSED: dict[str, tuple[Change, str]] = {
    # Quantised, by config.json.
    "fp8_blocks": (says(quantization_config={"quant_method": "fp8"}), r"quantised \(fp8\).*FineGrainedFP8Config"),
    "compressed": (says(quantization_config={"quant_method": "compressed-tensors"}), "CompressedTensorsConfig"),
    "quantised_somehow": (says(quantization_config={}), "quantised \\(an unnamed scheme\\)"),
    "hqq": (with_tensors(model__layers__0__self_attn__q_proj__W_q=torch.ones(1)), "HQQ"),
    "compression": (says(compression_config={"quant_method": "compressed-tensors"}), "quantised"),
    "gptq": (says(quantization_config={"quant_method": "gptq", "bits": 4}), r"\(gptq\).*original, unquantised"),
    "awq": (says(quantization_config={"quant_method": "awq"}), r"quantised \(awq\)"),
    "bitsandbytes": (says(quantization_config=BNB), r"quantised \(bitsandbytes\)"),
    "bitsandbytes_without_a_name": (says(quantization_config={"load_in_8bit": True}), r"quantised \(bitsandbytes\)"),
    "mxfp4": (says(quantization_config={"quant_method": "mxfp4"}), r"quantised \(mxfp4\).*Mxfp4Config"),
    "scheme_of_tomorrow": (says(quantization_config={"quant_method": "x9"}), r"quantised \(x9\)"),
    "scheme_without_words": (says(quantization_config=["?"]), "quantised"),
    "in_text_config": (says(text_config={"quantization_config": {"quant_method": "fp8"}}), r"quantised \(fp8\)"),
    # Quantised, by the tensors alone.
    "float8_weights": (changed(Q, lambda w: w.to(torch.float8_e4m3fn)), "q_proj.weight is stored as F8_E4M3"),
    "int8_weights": (changed(Q, lambda w: w.to(torch.int8)), "q_proj.weight is stored as I8"),
    "weight_scale": (with_tensors(model__layers__0__self_attn__q_proj__weight_scale=torch.ones(1)), "compressed"),
    "scale_inv": (with_tensors(model__layers__0__self_attn__q_proj__weight_scale_inv=torch.ones(1)), "FP8 in blocks"),
    "qweight": (with_tensors(model__layers__0__self_attn__q_proj__qweight=torch.ones(1)), "GPTQ or AWQ"),
    "packed": (with_tensors(model__layers__0__self_attn__q_proj__weight_packed=torch.ones(1)), "compressed-tensors"),
    "absmax": (with_tensors(model__layers__0__self_attn__q_proj__weight__absmax=torch.ones(1)), "bitsandbytes"),
    # Other formats.
    "gguf": (then(without(WEIGHTS), overwrite("m.gguf", b"GGUF")), r"its weights are m.gguf. Load it with .*gguf_file"),
    "gguf_alone": (then(without(WEIGHTS), without("config.json"), overwrite("m.gguf", b"GGUF")), "it holds m.gguf"),
    "adapter_alone": (adapter_only, "it is an adapter.*merge_and_unload"),
    "pickled": (pickled_only, r"pickled \(pytorch_model.bin\); load it with from_pretrained"),
    "other_name": (lambda d: (d / WEIGHTS).rename(d / "consolidated.safetensors"), "does not load consolidated"),
    "variant": (lambda d: (d / WEIGHTS).rename(d / "model.fp16.safetensors"), "does not load model.fp16"),
    "no_weights": (without(WEIGHTS), "no weights are there"),
    "mixture_of_experts": (says(model_type="mixtral"), "type 'mixtral', which is not known"),
    "vision": (says(model_type="idefics3"), "type 'idefics3', which is not known"),
    # Damaged files of weights.
    "empty": (overwrite(WEIGHTS, b""), f"{WEIGHTS} is empty: get it again from where it came"),
    "lfs": (overwrite(WEIGHTS, LFS), "is a Git LFS pointer.*git lfs pull"),
    "html": (overwrite(WEIGHTS, b"<!DOCTYPE html><html>404</html>"), "is damaged or cut short"),
    "four_bytes": (cut(WEIGHTS, 4), "is damaged or cut short"),
    "half_a_header": (cut(WEIGHTS, 100), "is damaged or cut short"),
    "half_the_data": (cut(WEIGHTS, -1000), "is damaged or cut short"),
    "one_byte_less": (cut(WEIGHTS, -1), "is damaged or cut short"),
    "one_byte_more": (lambda d: (d / WEIGHTS).open("ab").write(b"x"), "is damaged or cut short"),
    "huge_header": (overwrite(WEIGHTS, struct.pack("<Q", 1 << 60) + b"{}"), "is damaged or cut short"),
    "directory": (then(without(WEIGHTS), lambda d: (d / WEIGHTS).mkdir()), "holds no model.safetensors"),
    "broken_link": (
        then(without(WEIGHTS), lambda d: (d / WEIGHTS).symlink_to("nowhere")),
        "holds no model.safetensors",
    ),
    "unknown_dtype": (header(lambda h: h[Q].update(dtype="Q4_K")), "is damaged or cut short"),
    "overlap": (header(lambda h: h[Q].update(data_offsets=[0, h[Q]["data_offsets"][1]])), "is damaged or cut short"),
    "wrong_size": (header(lambda h: h[Q].update(shape=[31, 32])), "is damaged or cut short"),
    # Files that do not go together.
    "tensor_gone": (changed(Q, lambda _: None), f"has no tensor {Q}"),
    "norm_gone": (changed("model.norm.weight", lambda _: None), "has no tensor model.norm.weight"),
    "embedding_gone": (changed("model.embed_tokens.weight", lambda _: None), "has no tensor"),
    "other_shape": (changed(Q, lambda w: w[:-1]), r"q_proj.weight has the shape \[31, 32\], but config.json asks for"),
    "no_rows": (changed(Q, lambda w: w[:0]), r"has the shape \[0, 32\], but config.json asks for"),
    "no_columns": (changed(Q, lambda w: w[:, :0]), r"has the shape \[32, 0\], but config.json asks for"),
    "a_vector": (changed(Q, lambda w: w[0]), r"has the shape \[32\], but the weight of a linear has rows and columns"),
    "a_number": (changed(Q, lambda w: w[0, 0]), r"has the shape \[\], but the weight of a linear has rows and columns"),
    "three_axes": (changed(Q, lambda w: w[None]), r"has the shape \[1, 32, 32\], but the weight of a linear has rows"),
    "a_number_as_norm": (changed("model.norm.weight", lambda w: w[0]), r"has the shape \[\], but config.json asks"),
    "no_tensor": (lambda d: rewrite(d, {}), "has no tensor"),
    "other_vocabulary": (says(vocab_size=200), r"has the shape \[160, 32\], but config.json asks for \[200, 32\]"),
    "deeper_config": (says(num_hidden_layers=3, layer_types=None), "has no tensor model.layers.2"),
    "a_billion_blocks": (says(num_hidden_layers=10**9, layer_types=None), "has no tensor model.layers.2"),
    "wider_config": (says(hidden_size=64), "but config.json asks for"),
    "whole_numbers": (changed("model.norm.weight", lambda w: w.to(torch.int64)), "stored as torch.int64"),
    "twice": (with_tensors(norm__weight=torch.ones(32)), "holds model.norm.weight twice"),
    "compiled": (
        lambda d: rewrite(d, {f"_orig_mod.{name}": tensor for name, tensor in tensors(d).items()}),
        "has no tensor model.layers.0.*but _orig_mod|has no tensor",
    ),
    # Damaged indices.
    "shard_missing": (then(layouts.shard, without(FIRST_SHARD)), f"lacks {FIRST_SHARD}, one of 2 files"),
    "shard_lfs": (then(layouts.shard, overwrite(FIRST_SHARD, LFS)), f"{FIRST_SHARD} is a Git LFS pointer"),
    "shard_cut": (then(layouts.shard, cut(FIRST_SHARD, -3)), f"{FIRST_SHARD} is damaged or cut short"),
    "index_cut": (then(layouts.shard, cut(INDEX, 50)), f"{INDEX} is not JSON"),
    "index_lfs": (then(layouts.shard, overwrite(INDEX, LFS)), f"{INDEX} is not JSON.*git lfs pull"),
    "index_list": (edit_index(lambda _: ["x"]), "holds a list instead of a JSON object"),
    "index_empty": (edit_index(lambda _: {"weight_map": {}}), "has no 'weight_map' with files"),
    "index_without_map": (edit_index(lambda _: {"metadata": {}}), "has no 'weight_map'"),
    "index_outside": (
        edit_index(lambda i: i["weight_map"].update(x="../victim.safetensors")),
        "only files in the model's",
    ),
    "index_absolute": (edit_index(lambda i: i["weight_map"].update(x="/etc/passwd")), "only files in the model's"),
    "index_number": (edit_index(lambda i: i["weight_map"].update(x=3)), "names the file 3"),
    "index_names_more": (edit_index(lambda i: i["weight_map"].update(x=FIRST_SHARD)), "names the tensor x, which"),
    "weights_outside": (says(transformers_weights="../model.safetensors"), "only files in the model's"),
    # Damaged configs.
    "no_config": (without("config.json"), "has no config.json"),
    "config_cut": (cut("config.json", 40), "config.json is not JSON"),
    "config_empty": (overwrite("config.json", b""), "config.json is not JSON"),
    "config_lfs": (overwrite("config.json", LFS), "git lfs pull"),
    "config_latin1": (overwrite("config.json", '{"model_type": "é"}'.encode("latin-1")), "config.json is not JSON"),
    "config_list": (overwrite("config.json", b"[]"), "holds a list instead"),
    "config_deep": (overwrite("config.json", b"[" * 100_000), "config.json is not JSON"),
    "no_type": (says(model_type=None), "type None, which is not known"),
    "type_of_numbers": (says(model_type=[1]), "which is not known"),
    "no_heads": (says(num_attention_heads=0), "config.json"),
    "negative": (says(hidden_size=-32), "config.json"),
    "words_for_numbers": (says(hidden_size="32"), "config.json"),
    "half_a_head": (says(num_attention_heads=5), "config.json"),
    "activation_of_tomorrow": (says(hidden_act="x9lu"), "config.json"),
    "rope_of_tomorrow": (says(rope_parameters={"rope_type": "x9", "rope_theta": 1e4}), "config.json"),
    "text_config": (says(text_config=3), "config.json"),
}


def run(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def check_one_line(result: Any, message: str = "") -> None:
    """The command ended with exit code 1 and one line, no traceback."""
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and result.stderr.strip().splitlines()[-1] == lines[0], result.stderr
    assert re.search(message, lines[0]), lines[0]
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(name: str, source: Path, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    directory = tmp_path / "model"
    shutil.copytree(source, directory)
    change(directory)
    np.save(tmp_path / "tokens.npy", tiny.tokens(4, 16).numpy())
    words = ["--tokens", tmp_path / "tokens.npy", "--threads", 1]
    check_one_line(run("ppl", directory, *words), message)
    out = ["--out", tmp_path / "out", "--method", "wanda", "--sparsity", 0.5]
    check_one_line(run("prune", directory, *out, "--calibration", tmp_path / "tokens.npy", "--threads", 1), message)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*/**/*.safetensors")), "no block was pruned"


@pytest.mark.parametrize("content", ["{", "[1]", '"x"', "", "\0", LFS.decode()])
def test_a_tokenizer_that_cannot_be_exported_is_refused_before_work(content: str, source: Path, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(source, directory)
    (directory / "tokenizer_config.json").write_text(content)
    words = ["--method", "magnitude", "--sparsity", 0.5, "--threads", 1]
    check_one_line(run("prune", directory, "--out", tmp_path / "out", *words), "tokenizer_config.json")
    assert not list(tmp_path.glob(".out*/**/*.safetensors")), "no block was pruned"


def test_any_class_of_tokenizer_is_exported(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "model")
    said = {"backend": "tokenizers", "tokenizer_class": ["x"]}
    (tmp_path / "model/tokenizer_config.json").write_text(json.dumps(said))
    words = ["--out", tmp_path / "out", "--method", "magnitude", "--sparsity", 0.5, "--threads", 1]
    assert run("prune", tmp_path / "model", *words).exit_code == 0


def test_weights_that_are_no_numbers_are_named(source: Path, tmp_path: Path, tokens: Path) -> None:
    directory = tmp_path / "model"
    for name, message in ((Q, Q), ("model.embed_tokens.weight", "embedding")):
        shutil.copytree(source, directory, dirs_exist_ok=True)
        state = tensors(directory)
        state[name][5] = torch.nan
        rewrite(directory, state)
        words = ["--method", "wanda", "--sparsity", 0.5, "--calibration", tokens, "--threads", 1]
        np.save(tokens, np.full((2, 8), 5))
        check_one_line(run("prune", directory, "--out", tmp_path / name, *words), f"{message}.* NaN or")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FUZZ = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check_ends_well(directory: Path, tokens: Path) -> None:
    """The command gives a number, or one line."""
    result = run("ppl", directory, "--tokens", tokens, "--threads", 1)
    if result.exit_code != 0:
        check_one_line(result)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    np.save(tmp_path / "tokens.npy", tiny.tokens(2, 8).numpy())
    return tmp_path / "tokens.npy"


@FUZZ
@given(data=st.data())
def test_any_value_of_any_key_of_the_config(source: Path, tmp_path: Path, tokens: Path, data: st.DataObject) -> None:
    directory = tmp_path / "model"
    shutil.copytree(source, directory, dirs_exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    config[data.draw(st.sampled_from(sorted(config)))] = data.draw(JSON)
    (directory / "config.json").write_text(json.dumps(config))
    check_ends_well(directory, tokens)


@FUZZ
@given(data=st.data())
def test_any_bytes_in_the_header_of_the_weights(
    source: Path, tmp_path: Path, tokens: Path, data: st.DataObject
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(source, directory, dirs_exist_ok=True)
    content = bytearray((source / WEIGHTS).read_bytes())
    length = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    (directory / WEIGHTS).write_bytes(content[:size])
    check_ends_well(directory, tokens)


@FUZZ
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize("name", ["config.json", WEIGHTS, INDEX])
def test_any_bytes_in_place_of_a_file(name: str, source: Path, tmp_path: Path, tokens: Path, content: bytes) -> None:
    directory = tmp_path / "model"
    shutil.copytree(source, directory, dirs_exist_ok=True)
    if name == INDEX:
        (directory / WEIGHTS).unlink()
    (directory / name).write_bytes(content)
    check_ends_well(directory, tokens)
