"""easy-VQA by way of the catalog: the package is downloaded, its rows and pictures are evaluated, counting confirms."""

import json
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_vision
from prunebench.assets.pictures import Pictures
from prunebench.assets.sources import download_wheel
from prunebench.assets.tasks import draw, load_rows
from prunebench.config.schema import with_catalogs
from prunebench.config.sources import PackageSource
from prunebench.engine.subject import Subject
from prunebench.registry import build, load
from prunebench.stages.fetch_tasks import fetch_tasks
from prunebench.storage.layout import SINGLE
from prunebench.storage.resume import Parts
from prunebench.suites.vqa import Vqa
from studies import STUDY

pytestmark = pytest.mark.slow

SHORT = "\nAnswer the question using a single word or phrase."
Question = tuple[str, str, bytes]
"""A question, its answer and its picture."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle `easy_vqa` as the rule fetch_tasks makes it."""
    directory = tmp_path_factory.mktemp("easy_vqa")
    entry = with_catalogs(STUDY)[0].tasks["easy_vqa"]
    fetch_tasks(json.dumps({"entry": entry.model_dump(mode="json")}), asset=directory / "asset.json")
    return directory


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Question]:
    """The questions, answers and pictures as the package has them."""
    source = with_catalogs(STUDY)[0].tasks["easy_vqa"].source
    package = PackageSource(**source.model_dump(), members=["easy_vqa/data/test/questions.json"])
    with zipfile.ZipFile(download_wheel(package, tmp_path_factory.mktemp("wheel"))) as wheel:
        questions = json.loads(wheel.read("easy_vqa/data/test/questions.json"))
        return [
            (question, answer, wheel.read(f"easy_vqa/data/test/images/{number}.png"))
            for question, answer, number in questions
        ]


def test_the_rows_are_those_of_the_package(bundle: Path, published: list[Question]) -> None:
    (rows,) = load_rows(bundle, "easy_vqa").values()
    pictures = Pictures(bundle)
    assert [(row["question"], *row["answers"], pictures.read(row["image"])) for row in rows] == published
    assert len(rows) == 9673


def test_who_is_told_the_answers_is_always_right(bundle: Path, published: list[Question], tmp_path: Path) -> None:
    told = {(question + SHORT, picture): answer for question, answer, picture in published}
    assert len(told) == len(published)
    suite = build("suites", "vqa", {"data": "easy_vqa", "tasks": ["easy_vqa"]})
    assert isinstance(suite, Vqa)
    (score,) = suite.ask(
        lambda questions, pictures: [told[key] for key in zip(questions, pictures, strict=True)],
        bundle,
        Parts(tmp_path),
        batch_size=1000,
    )
    assert (score.value, score.stderr, score.n) == (1.0, 0.0, len(published))


def test_a_model_that_always_answers_yes_has_the_share_of_yes(
    bundle: Path, published: list[Question], tmp_path: Path
) -> None:
    """A real LLaVA in which each token decides the next one: a colon "y", then "e", then "s", then the end."""
    model = tiny_vision.make_llava(tmp_path / "llava", hidden_size=128, max_position_embeddings=1024)
    tokenizer = tiny_vision.make_tokenizer()
    weights = load_file(model / SINGLE)
    for name, tensor in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")) and name.startswith("language_model"):
            tensor.zero_()
    size = len(tokenizer)
    weights["language_model.model.embed_tokens.weight"][:size] = torch.eye(size, 128)
    weights["language_model.lm_head.weight"].zero_()
    ids = [*tokenizer.convert_tokens_to_ids([":", "y", "e", "s"]), tokenizer.eos_token_id]
    for token, following in pairwise(ids):
        weights["language_model.lm_head.weight"][following, token] = 1
    save_file(weights, model / SINGLE, {"format": "pt"})
    params = {"data": "easy_vqa", "tasks": ["easy_vqa"], "limit": 20, "samples": True, "new_tokens": 8}
    subject = Subject(model, load("models", "llava"), None, torch.float32, None, 10)
    (score,) = build("suites", "vqa", params).run(subject, {"tasks/easy_vqa": bundle}, Parts(tmp_path / "parts"))
    assert {sample["answer"] for sample in score.details["samples"]} == {"yes"}
    drawn = draw(load_rows(bundle, "easy_vqa")["test"], 20, 0)
    assert score.n == 20 and score.value == sum(row["answers"] == ["yes"] for row in drawn) / 20
    everything = build("suites", "vqa", {"data": "easy_vqa", "tasks": ["easy_vqa"]})
    assert isinstance(everything, Vqa)
    (whole,) = everything.ask(lambda questions, _: ["Yes."] * len(questions), bundle, Parts(tmp_path), batch_size=1000)
    assert whole.value == sum(answer == "yes" for _, answer, _ in published) / len(published)
    assert whole.n == len(published) and whole.stderr == pytest.approx(
        (whole.value * (1 - whole.value) / (whole.n - 1)) ** 0.5
    )
