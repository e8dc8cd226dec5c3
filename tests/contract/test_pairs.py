"""Calibration with images: blocks read what transformers' read, and statistics count the tokens that they should."""

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor

import tiny
import tiny_vision
from picture_rows import png
from prunebench.config.entries import Shape
from prunebench.config.values import Compute
from prunebench.engine.activations import advance, embed
from prunebench.engine.profile import profile_model
from prunebench.errors import PrunebenchError
from prunebench.estimate.devices import DEVICES
from prunebench.estimate.estimate import Estimate
from prunebench.estimate.space import demands
from prunebench.plan.graph import ordered
from prunebench.plan.plan import Plan, load_plan
from prunebench.stages.run import run
from prunebench.standalone.export import model_card
from prunebench.storage.sealed import read_record
from prunebench.suites.pairs import embedded
from prunebench.suites.viewer import LLAVA

QUESTIONS = [["what is shown?", "a circle", 0], ["is it red?", "no", 1], ["which?", "blue", 0], ["is it?", "yes", 1]]
SEQLEN = 300
PAIRS = ("pairs", "pairs_text")
SHAPE_OF_7B = Shape(blocks=32, hidden=4096, ffn=11008, attention=4096, vocabulary=32064)
PERPLEXITY = {"suite": "perplexity", "params": {"corpora": ["pairs"]}}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.make_llava(tmp_path_factory.mktemp("llava"), max_position_embeddings=1024)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source")
    (directory / "images").mkdir()
    for number in range(2):
        (directory / "images" / f"{number}.png").write_bytes(png(30 + number, 20, number))
    (directory / "questions.json").write_text(json.dumps(QUESTIONS))
    return directory


def config(llava: Path, source: Path, **study: Any) -> dict[str, Any]:
    tasks = {"pairs": {"images": "easy_vqa", "rows": {"train": "questions.json"}, "pictures": "images/*.png"}}
    pairs = {"kind": "pairs", "tasks": "mine", "task": "pairs"}
    return {
        "studies": {
            "tiny": {
                "suites": ["piqa"],
                "defaults": {"model": "llava", "calibration": f"pairs_1x{SEQLEN}", "sparsity": 0.5},
                "grid": [{"method": "wanda"}],
                **study,
            }
        },
        "compute": {"dtype": "float32", "batch_size": 2, "threads": 1},
        "models": {"llava": {"title": "LLaVA", "family": "llava", "source": {"kind": "path", "path": str(llava)}}},
        "tasks": {"mine": {"title": "Mine", "source": {"kind": "path", "path": str(source)}, "tasks": tasks}},
        "suites": {"same": {"suite": "vqa", "params": {"data": "mine", "tasks": ["pairs"]}}},
        "corpora": {
            "pairs": {"title": "Pairs", "source": pairs},
            "pairs_text": {"title": "Pairs, text", "source": {**pairs, "text_only": True}},
        },
    }


COMPUTE = Compute.model_validate({"dtype": "float32", "batch_size": 2, "threads": 1})


def windows_of(llava: Path, bundle: Path, *, text_only: bool = False, samples: int = 1) -> Any:
    return embedded(
        llava,
        bundle,
        "llava",
        "stored",
        COMPUTE,
        task="pairs",
        text_only=text_only,
        samples=samples,
        seqlen=SEQLEN,
        seed=0,
    )


@pytest.fixture(scope="module")
def bundle(llava: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        job = plan(config(llava, source)).asset("tasks/mine")
        run(job)
        return directory / job.outputs[0].parent


def plan(raw: dict[str, Any]) -> Plan:
    return load_plan(raw, "mine.yaml")


def test_blocks_read_what_those_of_transformers_read(llava: Path, bundle: Path) -> None:
    """One window is the first conversation and the beginning of the second, as the whole model embeds them."""
    windows, counts = windows_of(llava, bundle, text_only=True)
    assert windows.shape == (1, SEQLEN, 33) and windows.dtype == np.float32 and counts["pairs"] == 2
    model, processor = tiny.reference(llava), AutoProcessor.from_pretrained(llava)
    seen: list[Tensor] = []
    block = model.model.language_model.layers[0]
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    read = []
    for question, answer, number in QUESTIONS:
        text = LLAVA.format(f"{question}\nAnswer the question using a single word or phrase.") + f" {answer}<s>"
        picture = tiny_vision.make_image(30 + number, 20, number)
        square = Image.new("RGB", (picture.width, picture.width), (122, 116, 104))
        square.paste(picture, (0, (picture.width - picture.height) // 2))
        inputs = processor(images=[square], text=text, return_tensors="pt")
        with torch.no_grad():
            model(**inputs)
        image = inputs["input_ids"][0] == processor.tokenizer.convert_tokens_to_ids(tiny_vision.IMAGE)
        read.append((seen[-1][0], ~image))
    handle.remove()
    window = torch.from_numpy(windows[0])
    (first,) = (pair for pair in read if torch.equal(pair[0], window[: len(pair[0]), :-1]))
    states, counted = first
    assert torch.equal(window[: len(states), -1] > 0, counted) and 0 < int((~counted).sum()) < len(counted)
    rest = SEQLEN - len(states)
    assert any(torch.equal(pair[0][:rest], window[len(states) :, :-1]) for pair in read)
    assert counts["counted_tokens"] == int(window[:, -1].sum()) < SEQLEN


@pytest.mark.parametrize("name", ["granite", "gemma2", "llama", "llava_next-granite"])
def test_the_inputs_of_the_first_block_are_not_scaled_again(name: str, tmp_path: Path) -> None:
    """Stored inputs go into the first block as they are, also where a model scales its embeddings."""
    kind, _, text = name.partition("-")
    sizes = {"text_config": {**tiny.EVERY_ARCHITECTURE[text][1], "model_type": text}} if text else {}
    with pytest.MonkeyPatch.context() as patch:
        family, config = tiny.EVERY_ARCHITECTURE[kind]
        patch.setitem(tiny.EVERY_ARCHITECTURE, kind, (family, {**config, **sizes}))
        model = tiny.open_model(tiny.make_model(tmp_path, kind), kind)
    stored = embed(model, tiny.tokens(3, 8), 2)
    states = torch.cat(stored.hidden)
    again = embed(model, torch.cat([states, torch.ones_like(states[..., :1])], dim=2), 2)
    assert torch.equal(torch.cat(again.hidden), states)
    with model.block(1) as module:
        assert torch.equal(again.run(module, 1, 0), stored.run(module, 1, 0))


def test_answers_without_an_end_or_with_the_word_for_an_image(llava: Path, bundle: Path, tmp_path: Path) -> None:
    """A tokenizer may have no token that ends a text, and an answer may say what stands for an image."""
    bare, marked = shutil.copytree(llava, tmp_path / "bare"), shutil.copytree(bundle, tmp_path / "marked")
    tokens = json.loads((bare / "tokenizer_config.json").read_text())
    del tokens["eos_token"]
    (bare / "tokenizer_config.json").write_text(json.dumps(tokens))
    for file in marked.glob("pairs.*.jsonl"):
        lines = file.read_text().replace('"answers": ["', '"answers": ["<image>')
        assert "<image>" in lines
        file.write_text(lines)
    expected, _ = windows_of(llava, bundle)
    found, _ = windows_of(llava, marked)
    assert np.array_equal(found, expected)
    shorter, _ = windows_of(bare, bundle)
    # The first pair lacks its last token, and "None" does not stand there.
    length = next(place for place in range(SEQLEN) if not np.array_equal(shorter[0, place], expected[0, place]))
    assert np.array_equal(shorter[0, length : SEQLEN - 1], expected[0, length + 1 :])


def test_statistics_count_the_tokens_of_the_text_alone_if_asked(llava: Path, bundle: Path) -> None:
    norms = {}
    for text_only in (False, True):
        windows, _ = windows_of(llava, bundle, text_only=text_only)
        tokens = torch.from_numpy(windows)
        norms[text_only] = profile_model(tiny.open_model(llava, "llava"), tokens, 2)
        model = tiny.open_model(llava, "llava")
        activations = embed(model, tokens, 2)
        counted = tokens[0, :, -1] > 0
        assert bool(counted.all()) is not text_only
        for index in range(2):
            with model.block(index) as module:
                inputs: list[Tensor] = []
                module.mlp.down_proj.register_forward_pre_hook(lambda _, given, kept=inputs: kept.append(given[0]))
                advance(activations, module, index)
            expected = inputs[0][0][counted].double().square().sum(dim=0)
            torch.testing.assert_close(norms[text_only][model.family.full_name(index, "ffn_mid")], expected)
    assert all((norms[True][site] < norms[False][site]).any() for site in norms[True])


def test_a_study_calibrates_on_pairs(
    llava: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = config(llava, source)
    raw["studies"]["tiny"]["grid"] = [
        {"method": ["wanda", "sparsegpt", "dense_fit"], "calibration": [f"{name}_1x{SEQLEN}" for name in PAIRS]},
        {"method": "wanda", "allocator": "dsa"},
    ]
    made = plan(raw)
    masks = {}
    for cell in made.cells:
        job = made.job("prune", **cell.wildcards)
        for each in ordered([job]):
            if not each.outputs[0].exists():
                run(each)
        drawn = json.loads(Path(job.needs["tokens"].job.output("record").path).read_text())
        pairing = {"family": "llava", "task": "pairs", "text_only": cell.calibration.startswith("pairs_text")}
        assert pairing.items() <= drawn["pairing"].items() and "pillow" in drawn["pairing"]["versions"]
        record = read_record(Path(job.output("result").path), job.spec_hash)
        assert record["status"] == "ok" and record["achieved_sparsity"] == pytest.approx(0.5, abs=0.01)
        masks[cell] = Path(job.output("weights").path).read_bytes()
    assert len(set(masks.values())) == len(made.cells) == 6
    (study,) = made.studies.values()
    assert [(cell.method, reason) for cell, reason in study.skipped] == [
        (
            "dense_fit",
            f"dense_fit looks at each token, and pairs_text_1x{SEQLEN} counts the text alone: count all tokens",
        )
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "corpora.pairs.source.tasks",
            "mind",
            "source.tasks: unknown bundle of tasks 'mind': did you mean 'mine'",
        ),
        (
            "corpora.pairs.source.task",
            "pair",
            "source.task: mine has no task 'pair': did you mean 'pairs'",
        ),
        ("corpora.pairs.source", {"kind": "pairs", "tasks": "olmo", "task": "piqa"}, "'piqa' of olmo has no images"),
        ("corpora.pairs.documents", "lines", "'documents' is for text, not for pairs of images and text: leave it out"),
        ("corpora.pairs.calibration_bos", "window", "'calibration_bos' is for text, not for pairs"),
        (
            "suites",
            {"s": {"suite": "perplexity", "params": {"corpora": ["pairs"]}}},
            "'pairs' is images with text: it can only be a calibration",
        ),
        ("studies.tiny.suites", ["same"], f"evaluates the task 'pairs' of mine, on which pairs_1x{SEQLEN} calibrates"),
        (
            "studies.tiny.defaults.model",
            "smollm2_135m",
            "has images, which smollm2_135m does not see",
        ),
        ("studies.tiny.defaults.calibration", "pairs_1x2000", "windows of 2000 tokens, but llava reads at most 1024"),
    ],
)
def test_what_does_not_fit_is_one_line(llava: Path, source: Path, path: str, value: Any, message: str) -> None:
    raw: dict[str, Any] = deepcopy(config(llava, source))
    *parents, last = path.split(".")
    node = raw
    for parent in parents:
        node = node[parent]
    node[last] = value
    with pytest.raises(PrunebenchError) as error:
        plan(raw)
    assert message in str(error.value)


def test_a_suite_of_images_is_refused_for_a_model_of_text(llava: Path, source: Path) -> None:
    study = {"suites": ["same"], "defaults": {"sparsity": 0.5}}
    grid = {"method": "magnitude", "model": "llava"}
    assert plan(config(llava, source, **study, grid=[grid])).cells
    with pytest.raises(
        PrunebenchError, match=r"grid\[0\]\.suites: same asks about images, which smollm2_135m does not see"
    ):
        plan(config(llava, source, **study, grid=[{**grid, "model": "smollm2_135m"}]))


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ({"pairing": {"text_only": False}}, "pairs_1x300 (images with text, sha256 0)"),
        ({"pairing": {"text_only": True}}, "pairs_1x300 (images with text, the text counted alone, sha256 0)"),
        ({"bos": False}, "pairs_1x300 (no BOS token, sha256 0)"),
        ({}, "pairs_1x300 (sha256 0)"),
    ],
)
def test_the_card_of_a_model_says_what_its_calibration_was(drawn: dict[str, Any], words: str) -> None:
    spec = {"params": {}, "compute": None, "method": "wanda", "pattern": "unstructured", "storage": "stored"}
    pruned = {"spec": spec, "achieved_sparsity": 0.5, "prunable_weights": 1, "inputs": {"tokens": "0"}}
    pruned["model"] = {"title": "LLaVA", "source": {"kind": "path", "path": "x"}}
    cell = "llava/wanda/uniform/unstructured-0.50/pairs_1x300"
    assert f"| Calibration | {words} |" in model_card(
        {"prune": pruned, "cell": cell, "versions": {}, "calibration": drawn}
    ).replace("\\", "")


def test_a_plan_counts_one_read_of_what_is_outside_the_blocks_and_the_file(llava: Path, source: Path) -> None:
    made = plan(config(llava, source))
    (cell,) = made.cells
    job = made.job("calibrate", **cell.wildcards)
    hidden, vocabulary = 32, tiny.VOCABULARY
    for device in ("cpu", "a100"):
        cost = Estimate(made, DEVICES[device]).cost(job)
        assert cost.disk == 4 * SEQLEN * (hidden + 1) and cost.read == 2 * 2 * vocabulary * hidden and not cost.flops
    asked = {demand.words: demand.bytes for demand in demands(made, [job])}
    assert asked["calibration with images"] == cost.disk
    text = made.job("calibrate", model="llava", calibration="c4_type_1x64", seed="0")
    # Of 6.6e9 weights in float32 no more than a block and what is outside the blocks is there.
    assert text.bytes(SHAPE_OF_7B) < job.bytes(SHAPE_OF_7B) < 7e9


def test_the_release_of_pillow_decides_the_inputs(
    llava: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs, hashes = [], set()
    for release in ("1.0", "2.0"):
        monkeypatch.setattr("prunebench.plan.jobs.calibrate.version", {"pillow": release}.get)
        made = plan(config(llava, source))
        (cell,) = made.cells
        jobs.append(made.job("calibrate", **cell.wildcards))
        hashes.add(jobs[-1].spec_hash)
    assert len(hashes) == 2
    run(jobs[0].needs["model"].job), run(jobs[0].needs["corpus"].job)
    with pytest.raises(PrunebenchError, match=r"this job runs with pillow .*, but was planned with 1\.0"):
        run(jobs[0])


@pytest.mark.parametrize(
    "use",
    [
        {"searches": ["found"]},
        {"grid": [{"method": "magnitude", "allocator": "from_search", "calibration": "c4_type_1x64"}]},
    ],
    ids=["shown", "taken by an allocator"],
)
def test_the_pairs_of_searches_are_checked(use: dict[str, Any], llava: Path, source: Path) -> None:
    raw = config(llava, source)
    search = {"model": "llava", "calibration": f"pairs_1x{SEQLEN}", "sparsity": 0.5}
    raw["searches"] = {"found": {**search, "seqlen": 64}}
    raw["allocators"] = {"from_search": {"allocator": "dsa", "params": {"search": "found"}}}
    study = {"suites": ["same"], "defaults": {"model": "llava", "sparsity": 0.5}, "grid": [{"method": "magnitude"}]}
    raw["studies"]["tiny"] = {**study, **use}
    with pytest.raises(
        PrunebenchError, match=f"suite 'same' evaluates the task 'pairs' of mine, on which pairs_1x{SEQLEN}"
    ):
        plan(raw)
    raw["studies"]["tiny"]["suites"] = ["piqa"]
    plan(raw)
    raw["tasks"]["mine"]["source"]["path"] = str(source / "elsewhere")
    with pytest.raises(PrunebenchError, match=r"tasks\.mine\.source\.path: .*elsewhere"):
        plan(raw)


def test_methods_that_read_no_calibration_take_an_allocation_of_the_text_alone(llava: Path, source: Path) -> None:
    calibration = f"pairs_text_1x{SEQLEN}"
    grid = [{"method": ["random", "magnitude", "wanda", "dense_fit"], "allocator": "owl", "calibration": calibration}]
    (study,) = plan(config(llava, source, grid=grid)).studies.values()
    assert {cell.method for cell in study.cells} == {"random", "magnitude", "wanda"}
    assert [cell.method for cell, _ in study.skipped] == ["dense_fit"]


def test_methods_that_read_the_loss_are_skipped_with_a_reason(llava: Path, source: Path) -> None:
    made = plan(config(llava, source, grid=[{"method": "pruner_zero"}]))
    (study,) = made.studies.values()
    assert [reason for _, reason in study.skipped] == [
        f"pruner_zero reads gradients of text, and pairs_1x{SEQLEN} has images"
    ]


def test_what_cannot_be_embedded_is_one_line(llava: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError, match=r"4 questions of 'pairs' fill \d windows of 300 tokens, not 9: lower"):
        windows_of(llava, bundle, samples=9)
    tiny.make_model(tmp_path / "gemma3", "gemma3")
    with pytest.raises(PrunebenchError, match="is a 'gemma3' model, whose blocks tell tokens of images from those of"):
        windows_of(tmp_path / "gemma3", bundle)
