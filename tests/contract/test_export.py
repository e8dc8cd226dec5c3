"""An exported cell is, for anyone who loads it, the model that the pipeline measured."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import prunebench
import tiny
from jobs import PruneJob, prune_job
from prunebench.assets.titles import title_of
from prunebench.cli import app
from prunebench.engine.loss import window_losses
from prunebench.engine.subject import Subject
from prunebench.errors import PrunebenchError
from prunebench.registry import load
from prunebench.standalone.export import export
from prunebench.storage.sealed import read_record, write_record

CELL = "tiny/wanda/uniform/unstructured-s0.70/text_4x16-seed0"
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | {
    "original_max_position_embeddings": 32,
    "rope_theta": 500.0,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> PruneJob:
    """A pruned cell; not to be changed."""
    job = prune_job(tmp_path_factory.mktemp("finished"), sparsity=0.7)
    job.run()
    return job


@pytest.fixture
def project(finished: PruneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project, as working directory."""
    shutil.copytree(finished.root, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def subject(job: PruneJob, dtype: torch.dtype) -> Subject:
    """The pruned model as suites get it."""
    family = load("models", job.plan.config.models["tiny"].family)
    return Subject(job.root / "assets/model", family, job.weights, dtype, torch.bfloat16, batch_size=2)


def reference_losses(directory: Path, windows: torch.Tensor, dtype: torch.dtype, batch_size: int) -> list[float]:
    """The losses that a user of transformers would compute."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    with torch.no_grad():
        logits = torch.cat([model(batch).logits for batch in windows.split(batch_size)]).float()
    pairs = zip(logits, windows, strict=True)
    return [torch.nn.functional.cross_entropy(each[:-1], window[1:]).item() for each, window in pairs]


@pytest.mark.parametrize(
    "model",
    [
        {"name": "llama", "tie_word_embeddings": True},
        {"name": "llama", "tie_word_embeddings": False, "shard": "20KB"},
        {"name": "llama", "rope_parameters": LLAMA3},
        {"name": "llama", "method": "sparsegpt"},
        {"name": "opt", "tie_word_embeddings": True},
        {"name": "opt", "tie_word_embeddings": False},
    ],
    ids=[
        "llama",
        "llama untied, sharded",
        "llama, scaled rotary embedding",
        "llama, changed values",
        "opt",
        "opt untied",
    ],
)
def test_transformers_loads_what_was_measured(model: dict[str, object], tmp_path: Path) -> None:
    job = prune_job(tmp_path / "project", **model)
    job.run()
    exported = tmp_path / "exported"
    export(str(job.weights.parent), exported)
    windows = tiny.tokens(5, 40)
    for dtype in (torch.float32, torch.bfloat16):
        measured = window_losses(subject(job, dtype).streamed(), windows, batch_size=2)
        assert reference_losses(exported, windows, dtype, 2) == pytest.approx(measured, rel=1e-4)
    dense = reference_losses(tmp_path / "project/assets/model", windows, torch.bfloat16, 2)
    assert dense != pytest.approx(measured, rel=1e-2)
    assert AutoModelForCausalLM.from_pretrained(exported).dtype == torch.bfloat16
    text = tiny.make_text(1)[0]
    before, after = (AutoTokenizer.from_pretrained(path) for path in (tmp_path / "project/assets/model", exported))
    assert before(text)["input_ids"] == after(text)["input_ids"]
    files = {path.name for path in (tmp_path / "project/assets/model").iterdir()}
    assert {path.name for path in exported.iterdir()} == files | {"prunebench.json", "README.md"}


def test_the_weights_are_the_pipelines_bit_by_bit(finished: PruneJob, tmp_path: Path) -> None:
    export(str(finished.weights.parent), tmp_path / "exported")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "exported").state_dict()
    pruned = subject(finished, torch.bfloat16).pruned
    assert len(pruned) == 2 * 7
    assert all(torch.equal(loaded[name], pruned[name]) for name in pruned)
    assert sum((pruned[name] == 0).sum() for name in pruned) / sum(pruned[name].numel() for name in pruned) > 0.69


def test_it_says_what_was_done(finished: PruneJob, tmp_path: Path) -> None:
    returned = export(str(finished.weights.parent), tmp_path / "exported")
    said = json.loads((tmp_path / "exported/prunebench.json").read_text())
    assert said == returned
    assert said["cell"] == CELL
    assert said["model"] == {"title": "tiny", "source": {"kind": "path", "path": str(finished.root / "assets/model")}}
    assert said["prune"]["spec"]["method"] == "wanda"
    assert said["prune"]["achieved_sparsity"] == finished.result["achieved_sparsity"]
    assert "torch" in said["versions"]


@pytest.mark.parametrize("cell", [CELL, f"results/pruned/{CELL}", f"results/pruned/{CELL}/"])
def test_a_cell_goes_by_its_directory_or_by_its_axes(project: Path, cell: str) -> None:
    run = CliRunner().invoke(app, ["export", cell, "exported"])
    assert run.exit_code == 0, run.output
    assert "69.2% zeros" in run.output  # rows of 32 and 48: whole weights
    assert (project / "exported/model.safetensors").exists()


def test_a_wrong_name_gets_the_nearest_cells(project: Path) -> None:
    run = CliRunner().invoke(app, ["export", CELL.replace("0.70", "0.60"), "exported"])
    assert run.exit_code == 1
    assert CELL in run.output.replace("\n", "")
    assert not (project / "exported").exists()


def test_no_cells_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrunebenchError, match=r"there is none under .*results/pruned"):
        export(CELL, tmp_path / "exported")


def test_a_failed_cell_says_why(project: Path) -> None:
    record = project / "results/pruned" / CELL / "prune.json"
    record.write_text(json.dumps({"status": "failed", "reason": "scores are not finite"}))
    with pytest.raises(PrunebenchError, match=r"failed: scores are not finite"):
        export(CELL, project / "exported")


def test_weights_that_were_not_kept(project: Path) -> None:
    (project / "results/pruned" / CELL / "weights.safetensors").unlink()
    with pytest.raises(PrunebenchError, match=rf"keep_weights: packed .* results/pruned/{CELL}/weights.safetensors$"):
        export(CELL, project / "exported")


def test_a_model_that_is_gone(project: Path) -> None:
    (project / "resources/models/tiny/asset.json").unlink()
    with pytest.raises(PrunebenchError, match="the asset is not fetched yet"):
        export(CELL, project / "exported")


def test_a_model_that_changed(tmp_path: Path) -> None:
    job = prune_job(tmp_path, sparsity=0.7)
    job.run()
    file = tmp_path / "assets/model/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(PrunebenchError, match=r"changed \(model.safetensors\) since the cell was pruned"):
        export(str(job.weights.parent), tmp_path / "exported")


def test_a_model_that_was_fetched_anew(project: Path) -> None:
    record = project / "results/pruned" / CELL / "prune.json"
    stored = read_record(record)
    stored["inputs"]["model"] = "0" * 64
    write_record(record, stored)
    with pytest.raises(PrunebenchError, match="has changed since the cell was pruned"):
        export(CELL, project / "exported")


def test_a_directory_with_content_is_left_alone_unless_forced(project: Path) -> None:
    mine = project / "exported/mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(PrunebenchError, match="is not empty"):
        export(CELL, mine.parent)
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]
    export(CELL, mine.parent, force=True)
    assert not mine.exists() and (mine.parent / "config.json").exists()


@pytest.mark.parametrize("place", [".", "..", "results", "{model}", f"results/pruned/{CELL}"])
def test_what_is_needed_is_not_deleted_even_when_forced(project: Path, place: str) -> None:
    place = place.format(model=json.loads((project / "resources/models/tiny/asset.json").read_text())["directory"])
    before = sorted(project.rglob("*"))
    with pytest.raises(PrunebenchError, match="choose another directory"):
        export(CELL, Path(place), force=True)
    assert sorted(project.rglob("*")) == before


def test_damaged_weights_are_refused_and_nothing_is_left(project: Path) -> None:
    weights = project / "results/pruned" / CELL / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    before = sorted(project.iterdir())
    with pytest.raises(PrunebenchError, match="do not fit its seal"):
        export(CELL, project / "exported")
    assert sorted(project.iterdir()) == before


LISTED = {
    "additional_chat_templates/tool_use.jinja": "tools",
    "chat_template.jinja": "chat",
    "generation_config.json": "{}",
    "special_tokens_map.json": "{}",
    "added_tokens.json": "{}",
    "preprocessor_config.json": "{}",
    "tokenizer.model": "pieces",
    "vocab.json": "{}",
    "merges.txt": "a b",
    "qwen.tiktoken": "a",
    "modeling_own.py": "pass",
    "LICENSE": "terms",
    "License.pdf": "terms",
    "LICENSE-2.0": "terms",
    "NOTICE.txt": "notice",
    "USE_POLICY.md": "policy",
}
"""The files that are exported with a model, apart from the files that `tiny` makes."""
UNLISTED = {
    "additional_chat_templates/notes.txt": "not read",
    "pytorch_model.bin": "other weights",
    "model.gguf": "other weights",
    "consolidated.00.pth": "other weights",
    "pytorch_model.bin.index.json": "{}",
    "model.safetensors.index.fp16.json": "{}",
    "adapter_config.json": "{}",
    "adapter_model.bin": "adapter",
    "training_args.bin": "state",
    "optimizer.pt": "state",
    "rng_state.pth": "state",
    "scheduler.pt": "state",
    "trainer_state.json": "{}",
    "all_results.json": "{}",
    "events.out.tfevents.1.host": "log",
    "latest": "global_step1",
    "checkpoint-1/config.json": "{}",
    "onnx/config.json": "{}",
    ".cache/huggingface/x.json": "{}",
    ".gitattributes": "hidden",
}
"""The files that are not exported, because they belong to other weights, to a training, or to nobody."""


def with_files(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


def pruned_alone(model: Path, out: Path, **options: Any) -> set[str]:
    """Prune a directory by magnitude; the paths of the files in the export."""
    prunebench.prune(model, out=out, method="magnitude", sparsity=0.5, threads=1, **options)
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("linked", [False, True], ids=["files", "links, as in the hub's cache"])
def test_what_a_reader_needs_goes_with_the_model_and_nothing_else(tmp_path: Path, linked: bool) -> None:
    model = tiny.make_model(tmp_path / "model")
    with_files(model, LISTED | UNLISTED)
    needed = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", *LISTED}
    if linked:
        (tmp_path / "blobs").mkdir()
        for number, path in enumerate(path for path in sorted(model.rglob("*")) if path.is_file()):
            path.symlink_to(path.rename(tmp_path / f"blobs/{number}"))
    files = pruned_alone(model, tmp_path / "out")
    assert files == needed | {"prunebench.json", "README.md"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    same = set(LISTED) - {"tokenizer_config.json"}
    assert {name: (tmp_path / "out" / name).read_text() for name in same} == {name: LISTED[name] for name in same}


def test_all_chat_templates_are_read_from_an_export(tmp_path: Path) -> None:
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = {"default": "{{ messages[0]['content'] }}", "tool_use": "tools"}
    model = tiny.make_model(tmp_path / "model", tokenizer=tokenizer)
    pruned_alone(model, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == tokenizer.chat_template


@pytest.mark.parametrize("name", ["../stolen.safetensors", "{root}/stolen.safetensors", "sub/stolen.safetensors"])
def test_a_shard_outside_the_directory_is_neither_read_nor_written(tmp_path: Path, name: str) -> None:
    model = tiny.make_model(tmp_path / "model", shard="20KB")
    index = model / "model.safetensors.index.json"
    (tmp_path / "stolen.safetensors").write_text("mine")
    said = json.loads(index.read_text())
    said["weight_map"][next(iter(said["weight_map"]))] = name.format(root=tmp_path)
    index.write_text(json.dumps(said))
    with pytest.raises(PrunebenchError, match="only files in the model's own directory are read"):
        pruned_alone(model, tmp_path / "out")
    assert (tmp_path / "stolen.safetensors").read_text() == "mine"


def test_a_snapshot_in_the_hubs_cache_is_titled_by_its_repository(tmp_path: Path) -> None:
    commit = "0123abc" + 33 * "0"
    snapshot = tmp_path / "hub/models--some-org--a--model/snapshots" / commit
    tiny.make_model(snapshot)
    (tmp_path / "link").symlink_to(snapshot)
    for place in (snapshot, tmp_path / "link"):
        assert title_of(place) == "some-org/a--model (0123abc)"
    assert title_of(snapshot.parent / "main") == "main"
    assert title_of(tmp_path / "hub/models--gpt2/snapshots" / commit) == "gpt2 (0123abc)"
    pruned_alone(snapshot, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("# some-org/a--model (0123abc), pruned to 50%")
    record = json.loads((tmp_path / "out/prunebench.json").read_text())
    assert record["model"]["title"] == "some-org/a--model (0123abc)"
    assert record["cell"].startswith("some_org_a__model__0123abc_/")
    np.save(tmp_path / "tokens.npy", tiny.tokens(4, 16).numpy())
    words = [
        "compare",
        str(snapshot),
        str(tmp_path / "out"),
        "--tokens",
        str(tmp_path / "tokens.npy"),
        "--threads",
        "1",
    ]
    run = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert run.exit_code == 0, run.output
    assert "some-org/a--model (0123abc) " in run.output
    assert commit not in run.output
