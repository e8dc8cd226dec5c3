"""The Python functions: models in memory, any form of text, and errors that speak of arguments before any work."""

import inspect
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, MambaConfig, MambaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from typer.main import get_command
from typer.testing import CliRunner

import prunebench
import tiny
import zeroshot
from prunebench import registry
from prunebench.cli import app
from prunebench.errors import PrunebenchError
from prunebench.standalone import request
from prunebench.standalone.api.inputs import own
from prunebench.standalone.arguments import reworded
from prunebench.storage.layout import SINGLE
from prunebench.storage.packed import PACKED

TEXTS = tiny.make_text(40)
IDS = tiny.tokens(4, 16)
FAST: dict[str, Any] = {"threads": 1, "batch_size": 2}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(
        tmp_path_factory.mktemp("models") / "small",
        tokenizer=zeroshot.reading_tokenizer(),
        **{**zeroshot.READER, "max_position_embeddings": 2048},
    )


@pytest.fixture(scope="module")
def model(directory: Path) -> PreTrainedModel:
    opened: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory)
    return opened


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(directory)


@pytest.fixture(autouse=True)
def catalogs(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS))
    text = {"title": "Text", "source": {"kind": "path", "path": str(tmp_path / "text.txt")}, "documents": "blank_lines"}
    (tmp_path / "catalog").mkdir()
    for kind, entries in {
        "corpora": {"c4_type": text, "wikipedia": text},
        "tasks": {"tiny": zeroshot.bundle(tmp_path / "tasks", "boolq", "rte")},
        "suites": {"two": {"suite": "lm_eval", "params": {"data": "tiny", "tasks": ["boolq", "rte"]}}},
    }.items():
        (tmp_path / f"catalog/{kind}.yaml").write_text(yaml.safe_dump(entries))
    monkeypatch.setattr(request, "CATALOG", tmp_path / "catalog")


def equal(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_in_memory_gives_the_pruned_model_and_stays_as_it_is(
    directory: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    options: dict[str, Any] = {"method": "wanda", "sparsity": 0.5, "samples": 4, "seqlen": 16, **FAST}
    steps: list[prunebench.Step] = []
    pruned = prunebench.prune(model, TEXTS, tokenizer=tokenizer, progress=steps.append, **options)
    assert isinstance(pruned, type(model)) and pruned.config.name_or_path == model.config.name_or_path
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    on_disk = prunebench.prune(directory, TEXTS, out=tmp_path / "out", **options)
    assert equal(pruned, on_disk.load()) and on_disk.sparsity == pytest.approx(0.5, abs=0.01)
    blocks = [step for step in steps if step.what == "block" and step.total == 2]
    assert [step.done for step in blocks] == sorted(step.done for step in blocks)
    assert blocks[-1].done == 2 and any(0 < step.done < 1 and "q_proj" in step.note for step in blocks)
    capfd.readouterr()
    score = prunebench.perplexity(pruned, IDS, dtype=torch.float32, **FAST)
    assert "%|" not in capfd.readouterr().err, "no bar of transformers outside a terminal"
    assert score.value == prunebench.perplexity(on_disk.directory, IDS, dtype="fp32", **FAST).value
    # Two blocks, a head, and a tokenizer that cuts as that of the directory does.
    rows = prunebench.compare([model, on_disk.directory], TEXTS, tokenizer=tokenizer, seqlen=16, windows=3, **FAST)
    assert (rows[0].ratio, rows[1].sparsity) == (None, pytest.approx(0.5, abs=0.01))
    assert [row.model for row in rows] == [model.config.name_or_path or "LlamaForCausalLM", str(on_disk.directory)]
    both = prunebench.compare([model, pruned], IDS, **FAST)
    assert [row.model for row in both] == [rows[0].model, f"{rows[0].model} (2)"]
    scores = prunebench.evaluate(model, tasks=["rte"], limit=2, tokenizer=tokenizer, **FAST)
    assert {score.task for score in scores} == {"rte"} and scores[0].n == 2


def test_packed_by_a_function_and_what_a_search_finds(directory: Path, tmp_path: Path) -> None:
    best = prunebench.search(directory, 0.5, evaluations=2, samples=2, windows=1, seqlen=16, **FAST)
    chosen = {"allocator": best.allocator, "allocator_params": best.allocator_params}
    options: dict[str, Any] = {"method": "wanda", "sparsity": 0.5, "packed": True, **chosen, **FAST}
    packed = prunebench.prune(directory, IDS, out=tmp_path / "packed", **options)
    assert packed.record["prune"]["spec"]["method"] == "wanda"
    again = prunebench.prune(directory, IDS, **options)
    assert equal(packed.load(dtype="float32"), again.float())
    small = prunebench.export(directory, tmp_path / "8", packed=True, bits=8)
    for place in (packed.directory, small):
        rows = prunebench.compare([place, (loaded := prunebench.load(place)), directory], IDS, **FAST)
        assert (rows[0].sparsity, rows[0].perplexity) == (rows[1].sparsity, rows[1].perplexity), "in memory, on disk"
        assert rows[2].ratio != 1.0
        with pytest.raises(PrunebenchError, match="a packed model is saved by copying"):  # it is still packed
            loaded.save_pretrained(tmp_path / "saved")
    with pytest.raises(PrunebenchError, match="'against' is a packed model in memory: give the directory"):
        prunebench.speed(directory, packed.load())
    with pytest.raises(PrunebenchError, match="'strategy': grid is for 'space' slopes"):
        prunebench.search(directory, 0.5, strategy="grid")


def test_a_text_that_the_method_does_not_look_at_is_noted(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So a script can change the method alone."""
    caplog.set_level("INFO", "prunebench")
    options: dict[str, Any] = {"method": "magnitude", "sparsity": 0.5, **FAST}
    bare = prunebench.prune(directory, **options)
    assert "looks at no text" not in caplog.text
    for given in (IDS, TEXTS):
        assert equal(prunebench.prune(directory, given, **options), bare)
    assert caplog.text.count("magnitude with uniform looks at no text: ignoring 'calibration'") == 2


def test_a_list_that_is_too_short_is_called_as_the_argument(directory: Path) -> None:
    said = r"^'calibration' is too short: it has 1 token for '.*', but 128 windows of 512 need 65536\. Give more text$"
    with pytest.raises(PrunebenchError, match=said):
        prunebench.prune(directory, ["a"], **PRUNE, **FAST)


WRONG_EXPORTS: list[tuple[dict[str, Any], str]] = [
    ({"bits": 8}, "'bits' and 'group' belong to a packed model: give packed=True too"),
    ({"packed": True, "dense": True}, "dense=True and packed=True: choose one of them"),
    ({"dense": True}, "is not packed: there is nothing to do"),
    ({"dense": 1}, "'dense' is 1: give True or False"),
    ({}, "is a model directory, and no cell: add packed=True to pack it, dense=True to unpack it"),
    ({"directory": 3}, "'directory' is no path: give a name"),
    ({"cell": None}, "'cell' is no path: give a name"),
    ({"cell": "wanda/0.5"}, "no finished cell 'wanda/0.5'"),
]


def test_a_directory_is_packed_and_written_densely_again(directory: Path, tmp_path: Path) -> None:
    pruned = prunebench.prune(directory, out=tmp_path / "pruned", method="magnitude", sparsity=0.5, **FAST)
    packed = prunebench.export(pruned.directory, tmp_path / "packed", packed=True)
    dense = prunebench.export(str(packed), str(tmp_path / "dense"), dense=True)
    assert (dense / SINGLE).read_bytes() == (pruned.directory / SINGLE).read_bytes()
    assert (packed / PACKED).is_file() and packed.is_relative_to(tmp_path)


@pytest.mark.parametrize(("wrong", "message"), WRONG_EXPORTS, ids=[str(wrong) for wrong, _ in WRONG_EXPORTS])
def test_exports_that_cannot_be_made(wrong: dict[str, Any], message: str, directory: Path, tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError) as error:
        prunebench.export(**{"cell": directory, "directory": tmp_path / "out", **wrong})
    assert message in str(error.value) and "--" not in str(error.value)
    assert not (tmp_path / "out").exists()


GIVEN: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "list": (lambda: TEXTS, {}, "text"),
    "dataset": (lambda: datasets.Dataset.from_dict({"text": TEXTS, "n": range(len(TEXTS))}), {}, "text"),
    "column of a dataset": (lambda: datasets.Dataset.from_dict({"body": TEXTS}), {"column": "body"}, "text"),
    "streamed dataset": (lambda: datasets.Dataset.from_dict({"text": TEXTS}).to_iterable_dataset(), {}, "text"),
    "arrow table": (lambda: datasets.Dataset.from_dict({"text": TEXTS}).data.table, {}, "text"),
    "tokenised dataset": (lambda: datasets.Dataset.from_dict({"input_ids": IDS.tolist()}), {}, "tokens"),
    "formatted dataset": (
        lambda: datasets.Dataset.from_dict({"input_ids": IDS.tolist()}).with_format("torch"),
        {},
        "tokens",
    ),
    "output of a tokenizer": (lambda: {"input_ids": IDS, "attention_mask": IDS}, {}, "tokens"),
    "tensor": (lambda: IDS.int(), {}, "tokens"),
    "name of a corpus": (lambda: "wikipedia", {}, "corpus"),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_every_form_of_text(kind: str) -> None:
    make, options, form = GIVEN[kind]
    with own("calibration", make(), options.get("column")) as source:
        given = {name: value for name, value in vars(source).items() if value is not None}
        assert list(given) == [form]
        if form == "text":
            documents = [json.loads(line)["text"] for line in given["text"].read_text().splitlines()]
            assert documents == TEXTS
        elif form == "tokens":
            assert np.array_equal(np.load(given["tokens"]), IDS.numpy())


NO_TEXT: list[tuple[Any, dict[str, Any], str]] = [
    (
        datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"]})}),
        {},
        "has the splits train: give one",
    ),
    (datasets.Dataset.from_dict({"a": ["x"], "b": ["y"]}), {}, "has no column 'text' (it has: a, b): name the one"),
    (datasets.Dataset.from_dict({"text": ["a"]}), {"column": "body"}, "has no column 'body' (it has: text)"),
    (datasets.Dataset.from_dict({"text": [1, 2]}), {}, "'calibration' holds int64 [2], not int64 [samples, seqlen]"),
    (["a"], {"column": "body"}, "'column' belongs to a file or a dataset"),
    ("wikipeda", {}, "no such file or directory: 'wikipeda': did you mean 'wikipedia'?"),
]


@pytest.mark.parametrize(("given", "options", "message"), NO_TEXT, ids=[message for *_, message in NO_TEXT])
def test_a_form_that_is_none_is_explained(given: Any, options: dict[str, Any], message: str, directory: Path) -> None:
    with pytest.raises(PrunebenchError) as error:
        prunebench.prune(directory, given, sparsity=0.5, method="wanda", **options)
    assert message in str(error.value)


PRUNE: dict[str, Any] = {"sparsity": 0.5, "method": "wanda"}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("prune", {"sparsity": 60}, "'sparsity': 60 is outside [0, 1): sparsity is the fraction of weights that become"),
    ("prune", {"sparsity": None}, "say how sparse: sparsity=0.6, or pattern='2of4'"),
    ("prune", {**PRUNE, "pattern": "2:4"}, "'pattern': '2:4' is written 2of4 here"),
    ("prune", {**PRUNE, "sparsity": 0.6, "pattern": "2of4"}, "'sparsity': 2of4 fixes the sparsity at 0.50"),
    ("prune", {**PRUNE, "method": "wandaa"}, "'method': unknown method 'wandaa': did you mean 'wanda'?"),
    ("prune", {**PRUNE, "allocator": "owll"}, "'allocator': unknown allocator 'owll': did you mean 'owl'?"),
    ("prune", {**PRUNE, "method_params": {"roundin": 1}}, "unknown key 'roundin' in 'method_params'"),
    (
        "prune",
        {**PRUNE, "method_params": {"rounding": 1}},
        "'rounding' in 'method_params': must be 'nearest' or 'down'",
    ),
    ("prune", {**PRUNE, "params": {"rounding": 1}}, "'rounding' in 'params': must be 'nearest' or 'down'"),
    (
        "prune",
        {**PRUNE, "allocator": "owl", "allocator_params": {"lamb": 1}},
        "unknown key 'lamb' in 'allocator_params'",
    ),
    (
        "prune",
        {**PRUNE, "allocator_params": {"lam": 1}},
        "'allocator_params' belongs to an allocator: name it with 'al",
    ),
    (
        "prune",
        {"sparsity": 0.5, "method_params": {"a": 1}},
        "'method_params' belongs to a method: name it with 'method'",
    ),
    ("prune", {**PRUNE, "params": {}, "method_params": {}}, "'params' is an older name of 'method_params'"),
    ("prune", {**PRUNE, "corpus": "c4_typ"}, "'corpus': unknown corpus 'c4_typ': did you mean 'c4_type'?"),
    ("prune", {**PRUNE, "calibration": "wikipedia", "corpus": "c4_type"}, "'corpus' is an older name"),
    ("prune", {**PRUNE, "tokenizer": 3}, "'tokenizer' is of the type int: give one of transformers"),
    ("prune", {**PRUNE, "tokenizer": None}, "a model in memory has no tokenizer: give token ids in place of text, or"),
    ("prune", {**PRUNE, "bits": 8}, "'bits' and 'group' belong to a packed model: give packed=True too"),
    ("prune", {**PRUNE, "packed": True, "bits": 4}, "bits=4: packed values have 8 bits, or without 'bits' those"),
    ("prune", {**PRUNE, "packed": 1}, "'packed' is 1: give True or False"),
    ("prune", {**PRUNE, "packed": True, "bits": 8, "group": "64"}, "'group' is '64': give a whole number"),
    ("prune", {**PRUNE, "packed": True, "bits": "8"}, "'bits' is '8': give a whole number"),
    ("speed", {"bits": 8, "group": 3}, "group=3: give a multiple of 32, with bits=8"),
    ("prune", {**PRUNE, "calibration": IDS, "bos": True}, "'bos': the windows of token ids are taken as they are"),
    ("prune", {**PRUNE, "calibration": IDS + 1000}, "holds token ids from 1005 to"),
    ("prune", {**PRUNE, "device": "tpu"}, "device 'tpu' ('device', PRUNEBENCH_DEVICE): PyTorch"),
    ("prune", {**PRUNE, "device": 3}, "'device' is of the type int"),
    ("prune", {**PRUNE, "progress": "bar"}, "'progress' is neither True or False nor a function"),
    ("prune", {**PRUNE, "dtype": "fp8"}, "'dtype' is 'fp8': give one of float32, bfloat16, float16"),
    ("prune", {**PRUNE, "dtype": torch.int8}, "'dtype' is torch.int8: give one of"),
    ("perplexity", {}, "'text': give a text or token ids"),
    ("perplexity", {"text": IDS, "windows": 5}, "'windows': there are 4 windows of token ids, not 5"),
    ("perplexity", {"text": IDS, "seqlen": 1}, "'seqlen' is 1: give a whole number of at least 2"),
    ("compare", {}, "'models': give a list of two or more models"),
    ("compare", {"models": [3, 4]}, "'models[0]' is of the type int"),
    ("evaluate", {"suite": "tow"}, "'suite': unknown suite 'tow': did you mean 'two'?"),
    ("evaluate", {"suite": 3}, "'suite' is 3: give a string"),
    ("evaluate", {"tasks": "boolq"}, "'tasks' is 'boolq': give a list of names of tasks"),
    ("evaluate", {"tasks": ["bolq"]}, "'tasks': unknown task 'bolq': did you mean 'boolq'?"),
    ("evaluate", {"suite": "two", "tasks": ["piqa"]}, "'tasks': unknown task 'piqa' of suite 'two'"),
    ("evaluate", {"suite": "two", "limit": 1}, "'limit' is 1: give a whole number of at least 2"),
    ("search", {"sparsity": 60}, "'sparsity': 60 is outside [0, 1)"),
    ("search", {"sparsity": 0.5, "space": "function"}, "'space': unknown space 'function': did you mean 'functions'?"),
    ("search", {"sparsity": 0.5, "strategy": "grid"}, "'strategy': grid is for 'space' slopes"),
    ("search", {"sparsity": 0.5, "corpus": "c4"}, "'corpus': unknown corpus 'c4'"),
    ("speed", {"batches": []}, "'batches': give a list of whole numbers"),
    ("speed", {"batches": [0]}, "'batches[0]' is 0: give a whole number of at least 1"),
    ("speed", {"tokens": 1}, "'tokens' is 1: give a whole number of at least 2"),
    ("speed", {"against": 3}, "'against' is of the type int"),
    ("speed", {"bits": 4}, "bits=4: packed values have 8 bits"),
]


@pytest.mark.parametrize(("function", "wrong", "message"), WRONG, ids=[f"{f} {w}"[:80] for f, w, _ in WRONG])
def test_arguments_are_checked_before_a_model_is_saved(
    function: str, wrong: dict[str, Any], message: str, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lambda *_, **__: pytest.fail("the model was saved"))
    models = {"models": model} if function == "compare" else {"model": model}
    with pytest.raises(PrunebenchError) as error:
        getattr(prunebench, function)(**{**models, **wrong})
    said = str(error.value)
    assert message in said and "--" not in said and "\n" not in said


def test_models_that_cannot_be_pruned_are_refused_before_they_are_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lambda *_, **__: pytest.fail("the model was saved"))
    other = MambaForCausalLM(MambaConfig(vocab_size=8, hidden_size=8, state_size=2, num_hidden_layers=1))
    with pytest.raises(PrunebenchError, match="MambaForCausalLM is a model of type 'mamba', which is not known"):
        prunebench.prune(other, IDS, **PRUNE)
    with pytest.raises(PrunebenchError, match="'model' is on the device meta and has no weights"):
        prunebench.perplexity(other.to("meta"), IDS)
    with pytest.raises(PrunebenchError, match="'tokenizer' belongs to a model in memory"):
        prunebench.prune("a_directory", IDS, tokenizer=3, **PRUNE)


def test_what_progress_raises_stops_the_work_and_the_call_goes_on(directory: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: prunebench.Step) -> None:
        if step.what == "block" and step.done >= 1.5:
            assert (step.left or 0) > 0 and step.seconds > 0
            raise Stopped

    with pytest.raises(Stopped):
        prunebench.prune(directory, IDS, out=tmp_path / "out", progress=stop, **PRUNE, **FAST)
    done = prunebench.prune(directory, IDS, out=tmp_path / "out", progress=False, **PRUNE, **FAST)
    assert done.record["measured"]["resumed_at"] == 1


def test_a_bar_is_drawn_on_request(directory: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prunebench.perplexity(directory, IDS, **FAST)
    assert "%|" not in capfd.readouterr().err, "neither ours nor transformers'"
    prunebench.prune(directory, out=tmp_path / "out", method="magnitude", sparsity=0.5, **FAST).load()
    prunebench.load(tmp_path / "out")
    assert "%|" not in capfd.readouterr().err
    prunebench.perplexity(directory, IDS, progress=True, **FAST)
    assert "block: 100%|" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("--seqlen: too long", "'seqlen': too long"),
        ("say --sparsity 0.6, or --pattern 2of4.", "say sparsity=0.6, or pattern='2of4'."),
        ("unknown key '--param dampin': did you mean", "unknown key 'dampin' in 'method_params': did you mean"),
        ("run snakemake --cores all --rerun-triggers mtime", "run snakemake --cores all --rerun-triggers mtime"),
        ("leave out --no-bos and give --force", "leave out bos=False and give force=True"),
        ("--batch-size: 3", "'batch_size': 3"),
        ("--device-map", "--device-map"),
    ],
)
def test_options_become_arguments(message: str, expected: str) -> None:
    assert reworded(message) == expected


def test_eval_writes_what_other_programs_read(directory: Path, tmp_path: Path) -> None:
    words = ["eval", directory, "--task", "boolq", "-t", "rte", "--limit", "2", "--threads", "1"]
    run = CliRunner().invoke(app, [*map(str, words), "--out", str(tmp_path / "out"), "--samples", "--csv"])
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert lines[0] == "task,metric,value,stderr,low,high,n"
    assert [line.split(",")[0] for line in lines[1:]] == ["boolq", "rte", "mean"]
    assert (tmp_path / "out/scores.csv").read_text() == run.stdout
    (results,), samples = (sorted((tmp_path / "out").glob(f"*/{kind}_*.json*")) for kind in ("results", "samples"))
    record = json.loads(results.read_text())
    assert {"boolq", "rte", "mean"} == record["results"].keys() and record["n-samples"]["rte"]["effective"] == 2
    assert record["configs"]["boolq"]["dataset_path"] and "custom_dataset" not in record["configs"]["boolq"]
    assert [len(file.read_text().splitlines()) for file in samples] == [2, 2]
    assert json.loads((tmp_path / "out/every_eval_ever.json").read_text())["eval_library"]["name"] == "lm_eval"
    shown = CliRunner().invoke(app, [*map(str, words), "--suite", "two"], env={"COLUMNS": "100"})
    assert "95% interval" in shown.stdout and "rte" in shown.stdout, shown.output
    for wrong, message in {
        "--samples": "--samples: the rows are written to files",
        "--csv --json": "--csv and --json: choose one",
        f"--out {directory}/config.json": "config.json cannot be made",
    }.items():
        refused = CliRunner().invoke(app, [*map(str, words), *wrong.split()])
        assert refused.exit_code == 1 and message in " ".join(refused.stderr.split())


def test_where_a_bar_is_the_time_and_the_choice_of_the_method_are_told(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"sparsity": 0.5, "samples": 4, "seqlen": 16, **FAST}
    prunebench.prune(directory, TEXTS, out=tmp_path / "told", progress=True, **options)
    said = capsys.readouterr().err
    assert "with uniform: " in said and "expected time: " in said


def test_progress_names_tasks_rows_and_models(directory: Path) -> None:
    steps: list[prunebench.Step] = []
    prunebench.evaluate(directory, tasks=["boolq", "rte"], limit=2, progress=steps.append, **FAST)
    notes = [step.note for step in steps if step.what == "task"]
    assert "boolq" in notes and "rte, 2 of 2 rows" in notes and steps[-1].done == 2
    steps.clear()
    prunebench.compare([directory, directory], IDS, progress=steps.append, **FAST)
    assert {step.subject for step in steps} == {"small"}


FUNCTIONS = (
    "prune", "perplexity", "evaluate", "compare", "search", "speed", "export", "push", "load", "load_results",
)  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_has_a_type_and_a_description(name: str) -> None:
    function = getattr(prunebench, name)
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    assert hints.keys() == {*parameters, "return"}
    text = inspect.getdoc(function) or ""
    shared = {"dtype", "batch_size", "threads", "device", "progress", "column", "bos", "seqlen", "windows", "tokenizer"}
    assert [argument for argument in parameters if f"`{argument}`" not in text and argument not in shared] == []


def test_options_of_commands_are_arguments() -> None:
    """Each option of a command is an argument of its function, by its own name or a related one."""
    names = {"text": "calibration", "param": "method_params", "allocator_param": "allocator_params"}
    names |= {"task": "tasks", "batch": "batches", "corpus": "text", "tokens": "text"}
    printed = {"as_json", "help", "as_csv", "out", "samples"}
    for command, function in {
        "prune": "prune", "ppl": "perplexity", "eval": "evaluate", "compare": "compare", "search": "search",
        "speed": "speed", "export": "export", "push": "push",
    }.items():  # fmt: skip
        arguments = inspect.signature(getattr(prunebench, function)).parameters
        options = {option.name for option in get_command(app).commands[command].params}
        missing = {name for name in options - arguments.keys() - printed if names.get(name) not in arguments}
        assert missing == set(), command


def test_a_folder_never_hides_the_function_of_its_name() -> None:
    from prunebench.search import strategies

    assert strategies.STRATEGIES and callable(prunebench.search)
    assert prunebench.search.__module__ == "prunebench.standalone.api.search"
    assert registry.load("search", "functions") is not None
    assert {"prune", "search", "load_results"} <= set(dir(prunebench))
    with pytest.raises(AttributeError, match="has no attribute 'prunes'"):
        prunebench.prunes  # noqa: B018
