"""Questions about images: rows of real layouts, prompts, answers by the real model, scores that counting confirms."""

import io
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
import tiny_vision
from hub_server import HubServer
from picture_rows import PEOPLE, add_pictures, file_of, png, rows, vqav2
from prunebench.assets.pictures import ARCHIVE, Pictures
from prunebench.assets.tasks import load_rows
from prunebench.config.schema import with_catalogs
from prunebench.config.tasks import TaskData
from prunebench.engine.subject import Subject
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.published.values import load_values
from prunebench.registry import build, load
from prunebench.stages.fetch_tasks import fetch_tasks
from prunebench.standalone.evaluation import evaluation
from prunebench.storage.resume import Parts
from prunebench.suites.viewer import LLAVA, Prompter, Viewer, question_of
from prunebench.suites.vqa import score_of
from studies import STUDY

OLDER = ("patch_size", "num_additional_image_tokens", "vision_feature_select_strategy")


def write_rows(path: Path, task: str, rows: list[dict[str, Any]]) -> str:
    path.write_bytes(file_of(task, rows))
    return path.name


def layouts(directory: Path) -> dict[str, Any]:
    """Entries of the four tasks, whose files have the layouts and columns of the real ones."""
    (directory / "images").mkdir(parents=True)
    for number in range(3):
        (directory / "images" / f"{number}.png").write_bytes(png(64, 64, number))
    questions = [["what is the red shape?", "circle", 0], ["is there a circle?", "no", 2], ["what color?", "red", 2]]
    (directory / "questions.json").write_text(json.dumps(questions))
    write_rows(directory / "v-00000-of-00002.parquet", "vqav2", [vqav2(0)])
    write_rows(directory / "v-00001-of-00002.parquet", "vqav2", [vqav2(1)])
    return {
        "easy_vqa": {"images": "easy_vqa", "rows": {"test": "questions.json"}, "pictures": "images/*.png"},
        "vqav2": {"images": "vqav2", "rows": {"validation": "v-*-of-00002.parquet"}},
        **{
            task: {"images": task, "rows": {"test": write_rows(directory / f"{task}.parquet", task, rows(task))}}
            for task in ("textvqa", "scienceqa")
        },
    }


def fetch(directory: Path, tasks: dict[str, Any], dest: Path) -> Path:
    entry = {"title": "Images", "source": {"kind": "path", "path": str(directory)}, "tasks": tasks}
    fetch_tasks(json.dumps({"entry": entry}), asset=dest / "asset.json")
    return dest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    return fetch(directory / "source", layouts(directory / "source"), directory / "tasks")


def test_rows_of_real_layouts_become_one_form(bundle: Path) -> None:
    pictures = Pictures(bundle)
    easy, vqav2, textvqa, science = (
        [row for part in load_rows(bundle, name).values() for row in part]
        for name in ("easy_vqa", "vqav2", "textvqa", "scienceqa")
    )
    assert [(row["question"], row["answers"]) for row in easy[:2]] == [
        ("what is the red shape?", ["circle"]),
        ("is there a circle?", ["no"]),
    ]
    assert [pictures.read(row["image"]) for row in easy] == [png(64, 64, seed) for seed in (0, 2, 2)]
    assert [row["question"] for row in vqav2] == ["what 0?", "what 1?"] and vqav2[0]["answers"] == PEOPLE
    assert vqav2[0]["image"] == vqav2[1]["image"] and pictures.read(vqav2[0]["image"]) == png(27, 13, 7)
    assert textvqa[0]["ocr_tokens"] == ["DAKOTA", "DIGITAL"]
    assert [(row["choices"], row["answer"]) for row in science] == [(["a whale", "a bird"], 1)]


def test_the_archive_has_one_digest(bundle: Path, tmp_path: Path) -> None:
    again = fetch(tmp_path / "source", layouts(tmp_path / "source"), tmp_path / "tasks")
    assert (again / ARCHIVE).read_bytes() == (bundle / ARCHIVE).read_bytes()
    (again / ARCHIVE).write_bytes(b"damaged")
    with pytest.raises(PrunebenchError, match=r"images\.zip cannot be read"):
        Pictures(again)


def test_the_data_sets_of_the_catalog_arrive_from_the_hub(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = with_catalogs(STUDY)[0].tasks
    hub.connect(monkeypatch, tmp_path / "cache")
    counts = {"vqav2": ("validation", 68), "scienceqa": ("test", 1), "textvqa": ("validation", 3)}
    add_pictures(hub, {name: tasks[name] for name in counts})
    for name, (split, count) in counts.items():
        assert len(str(getattr(tasks[name].source, "revision", ""))) == 40
        dest = tmp_path / name
        fetch_tasks(json.dumps({"entry": tasks[name].model_dump(mode="json")}), asset=dest / "asset.json")
        (part,) = load_rows(dest, name).items()
        assert part[0] == split and len(part[1]) == count
        assert {len(Pictures(dest).read(row["image"])) for row in part[1]} == {len(rows(name)[0]["image"]["bytes"])}
        if count > 1:
            assert [row["question"].split()[-1] for row in part[1]] == [str(number) for number in range(count)]


@pytest.mark.parametrize("form", ["easy_vqa", "vqav2", "textvqa", "scienceqa"])
def test_rows_of_another_form_are_one_line(form: str, tmp_path: Path) -> None:
    tmp_path.joinpath("rows.json").write_text(json.dumps([{"question": "what?"}]))
    with pytest.raises(PrunebenchError, match=rf"rows\.json does not hold rows of '{form}': ") as error:
        fetch(tmp_path, {"mine": {"images": form, "rows": {"test": "rows.json"}}}, tmp_path / "tasks")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "either 'stock'"),
        ({"stock": "arc/arc_easy.yaml", "images": "vqav2"}, "either 'stock'"),
        ({"stock": "arc/arc_easy.yaml", "pictures": "a/*.png"}, "'pictures' are the files"),
        ({"images": "easy_vqa", "pictures": "a/b.png"}, "'pictures' are the files"),
        ({"images": "easy_vqa", "rows": {"test": "a_*.json"}}, "stands for a subject"),
        ({"images": "chartqa"}, "easy_vqa"),
        ({"images": "vqav2", "rows": {"test": "a-*-of-00000.parquet"}}, "stands for a subject"),
        ({"images": "vqav2", "rows": {"test": "a-*-of-3.parquet"}}, "stands for a subject"),
    ],
)
def test_bad_entries_are_refused(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TaskData.model_validate({"rows": {"test": "rows.json"}, **data})


def test_prompts_are_those_of_llava() -> None:
    short = "\nAnswer the question using a single word or phrase."
    assert question_of({"question": "what brand?"}, ocr=False) == f"what brand?{short}"
    row = {"question": "what brand?", "ocr_tokens": ["DAKOTA", "DIGITAL"]}
    assert question_of(row, ocr=False) == f"what brand?{short}"
    assert question_of(row, ocr=True) == f"what brand?\nReference OCR token: DAKOTA, DIGITAL{short}"
    science = {"question": "Which?", "choices": ["a whale", "a bird"], "answer": 1, "hint": ""}
    assert question_of(science, ocr=False) == (
        "Context: N/A\nQuestion: Which?\nOptions: (A) a whale (B) a bird\n"
        "Answer with the option's letter from the given choices directly."
    )
    science |= {"choices": ["a  whale", "a bird "], "hint": "  Look.\n"}
    assert question_of(science, ocr=False).startswith(
        "Context: Look.\nQuestion: Which?\nOptions: (A) a whale (B) a bird\nAnswer with"
    )
    assert LLAVA.format("Who?") == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: <image>\nWho? ASSISTANT:"
    )


def test_a_constant_answer_scores_what_counting_says_and_told_answers_score_all() -> None:
    answers = [*["yes"] * 30, *["no"] * 20, *["circle"] * 10]
    rows = [{"question": "?", "answers": [answer]} for answer in answers]
    told = score_of("easy_vqa", rows, answers, keep=True)
    assert told.value == 1.0 and told.stderr == 0.0 and told.details["samples"][0]["answer"] == "yes"
    constant = score_of("easy_vqa", rows, ["Yes."] * len(rows))
    share = Counter(answers)["yes"] / len(answers)
    assert constant.value == pytest.approx(share) and constant.n == 60 and constant.details == {}
    assert constant.stderr == pytest.approx(math.sqrt(share * (1 - share) / 59))
    science = [{"question": "?", "choices": ["x", "y"], "answer": index % 2} for index in range(10)]
    assert score_of("scienceqa", science, ["B"] * 10).value == 0.5


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.make_llava(tmp_path_factory.mktemp("llava"), max_position_embeddings=1024)


def subject(directory: Path, family: str = "llava", batch_size: int = 2) -> Subject:
    return Subject(directory, load("models", family), None, torch.float32, None, batch_size)


def test_answers_are_those_of_transformers_on_padded_images(llava: Path) -> None:
    from PIL import Image
    from transformers import AutoProcessor

    viewer = Viewer(subject(llava), prompt="llava", pad=True, new_tokens=4)
    images = [png(20, 13, 1), png(40, 64, 2)]
    answers = viewer.answers(["what?", "which of the two?"], images)
    processor, model = AutoProcessor.from_pretrained(llava), tiny.reference(llava)
    for answer, question, content in zip(answers, ["what?", "which of the two?"], images, strict=True):
        picture = Image.open(io.BytesIO(content))
        side = max(picture.size)
        square = Image.new("RGB", (side, side), (122, 116, 104))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        inputs = processor(images=[square], text=LLAVA.format(question), return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert answer == processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_images_are_resized_by_pillow_where_torchvision_is_installed_too(
    llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.auto import image_processing_auto

    backends: list[object] = []
    chosen = image_processing_auto._resolve_backend
    monkeypatch.setattr(
        image_processing_auto, "_resolve_backend", lambda *given: (backends.append(given[0]), chosen(*given))[1]
    )
    Prompter(llava, load("models", "llava"), prompt="llava", pad=True)
    assert backends == ["pil"]


@pytest.mark.parametrize("absent", [("patch_size",), ("num_additional_image_tokens",), OLDER])
def test_what_older_releases_leave_out_of_the_processor_is_read_from_the_config(
    llava: Path, tmp_path: Path, absent: tuple[str, ...]
) -> None:
    older = shutil.copytree(llava, tmp_path / "older")
    file = older / "processor_config.json"
    file.write_text(
        json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key not in absent})
    )
    asked = (["what?"], [png(20, 13, 1)])
    viewers = [Viewer(subject(place), prompt="llava", pad=True, new_tokens=4) for place in (older, llava)]
    assert viewers[0].answers(*asked) == viewers[1].answers(*asked)
    config = json.loads((older / "config.json").read_text())
    del config["vision_config"]["patch_size"]
    (older / "config.json").write_text(json.dumps(config))
    if "patch_size" in absent:
        with pytest.raises(PrunebenchError, match="says how large a patch of an image is"):
            Prompter(older, load("models", "llava"), prompt="llava", pad=True)


def test_a_killed_evaluation_resumes_with_the_next_batch(
    llava: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"data": "images", "tasks": ["easy_vqa", "scienceqa", "vqav2"], "new_tokens": 3, "samples": True}
    suite = build("suites", "vqa", params)
    assets = {"tasks/images": bundle}
    scores = suite.run(subject(llava), assets, Parts(tmp_path / "whole"))
    assert [(score.task, score.n) for score in scores] == [("easy_vqa", 3), ("scienceqa", 1), ("vqav2", 2), ("mean", 6)]
    answer, calls = Viewer.answers, []

    def killed(self: Viewer, questions: list[str], images: list[bytes]) -> list[str]:
        calls.append(len(questions))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answer(self, questions, images)

    monkeypatch.setattr(Viewer, "answers", killed)
    with pytest.raises(KeyboardInterrupt):
        suite.run(subject(llava), assets, Parts(tmp_path / "parts"))
    assert suite.run(subject(llava), assets, Parts(tmp_path / "parts")) == scores
    assert calls == [2, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("params", "mistakes"),
    [
        ({"tasks": ["textvqa"], "ocr": True}, []),
        ({"tasks": ["vqav2", "easy_vqa"]}, []),
        *[({"tasks": [task], "ocr": True}, [f"ocr: {task!r} has no OCR tokens"]) for task in ("vqav2", "scienceqa")],
        ({"tasks": ["easy_vqa", "textvqa"], "ocr": True}, ["ocr: 'easy_vqa' has no OCR tokens"]),
        ({"tasks": ["vqav2", "textvqa", "vqav2"]}, ["tasks: 'vqav2' is named 2 times"]),
        ({"tasks": ["vqa"]}, ["tasks: images has no task 'vqa'"]),
    ],
)
def test_parameters_that_do_not_fit_the_data(params: dict[str, Any], mistakes: list[str], tmp_path: Path) -> None:
    source = {"kind": "path", "path": str(tmp_path)}
    tasks = layouts(tmp_path)
    entry = {"title": "Images", "source": source, "tasks": tasks}
    config = with_catalogs({**STUDY, "tasks": {"images": entry}})[0]
    reported = [*build("suites", "vqa", {"data": "images", **params}).mistakes(config)]
    assert len(reported) == len(mistakes) and all(map(str.startswith, reported, mistakes))


@pytest.mark.parametrize(
    ("params", "differences"),
    [
        ({}, []),
        ({"limit": 9}, ["all rows, here 9 of each task"]),
        ({"prompt": "template"}, ["LLaVA-1.5's prompt, here the model's chat template"]),
        ({"pad": False, "new_tokens": 4}, ["images padded to a square, here as they are", "answers of up to 128 tok"]),
    ],
)
def test_differences_from_published_values(params: dict[str, Any], differences: list[str]) -> None:
    value = next(value for value in load_values() if value.task == "scienceqa")
    reported = [*build("suites", "vqa", {"data": "scienceqa", "tasks": ["scienceqa"], **params}).differences(value)]
    assert len(reported) == len(differences) and all(map(str.startswith, reported, differences))


def test_a_task_with_ocr_tokens_has_a_name_of_its_own(bundle: Path, tmp_path: Path) -> None:
    suite = build("suites", "vqa", {"data": "images", "tasks": ["textvqa"], "ocr": True})
    assert suite.tasks == ("textvqa_ocr",)


@pytest.mark.parametrize("place", ["generation_config.json", "tokenizer_config.json", "config.json"])
def test_an_answer_ends_where_any_file_of_the_model_says(place: str, llava: Path, tmp_path: Path) -> None:
    other = shutil.copytree(llava, tmp_path / "other")
    viewer = Viewer(subject(other), prompt="llava", pad=True, new_tokens=6)
    (answer,) = viewer.answers(["what?"], [png(20, 13)])
    end = next(letter for letter in answer[1:] if letter != answer[0])
    token = viewer._prompter.tokenizer.convert_tokens_to_ids(end)
    values: dict[str, Any] = {
        "generation_config.json": {"eos_token_id": [token, 1]},
        "tokenizer_config.json": {"eos_token": end},
        "config.json": {"eos_token_id": token},
    }
    file = other / place
    content = json.loads(file.read_text())
    (content["text_config"] if place == "config.json" else content).update(values[place])
    file.write_text(json.dumps(content))
    (shorter,) = Viewer(subject(other), prompt="llava", pad=True, new_tokens=6).answers(["what?"], [png(20, 13)])
    assert shorter.removesuffix(end) == answer.partition(end)[0] and len(shorter) < len(answer)


@pytest.mark.parametrize("ids", ["2", [2, None], {"a": 1}, True])
def test_ends_that_are_no_tokens_are_one_line(ids: Any, llava: Path, tmp_path: Path) -> None:
    other = shutil.copytree(llava, tmp_path / "other")
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    with pytest.raises(PrunebenchError, match=r"'eos_token_id' in generation_config\.json or config\.json is .*, not"):
        Viewer(subject(other), prompt="llava", pad=True, new_tokens=6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_processor": {"image_mean": None}}, "cannot load the processor of images"),
        ({"image_processor": {"image_mean": "gray"}}, "cannot load the processor of images"),
        ({"image_processor": {"image_mean": [0.5]}}, r"'image_mean' in .* is \(0\.5,\), not three numbers"),
        ({"image_processor": {"image_std": [0.5]}}, "processor of images does not fit the model"),
        ({"image_processor": {"crop_size": {"height": 24, "width": 24}}}, "processor of images does not fit the model"),
        ({"patch_size": 4}, "processor of images does not fit the model"),
        ({"patch_size": "8"}, "says how large a patch of an image is"),
        ({"num_additional_image_tokens": 3}, "processor of images does not fit the model"),
    ],
)
def test_a_processor_that_does_not_fit_the_model_is_one_line(
    changes: dict[str, Any], reason: str, llava: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(llava, tmp_path / "other")
    file = other / "processor_config.json"
    content = json.loads(file.read_text())
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    file.write_text(json.dumps(content))
    with pytest.raises(PrunebenchError, match=reason) as error:
        Viewer(subject(other), prompt="llava", pad=True, new_tokens=2).answers(["what?"], [png(30, 20)])
    assert "\n" not in str(error.value)


def test_what_cannot_be_evaluated_is_one_line(llava: Path, tmp_path: Path) -> None:
    text = tiny.make_model(tmp_path / "text")
    with pytest.raises(PrunebenchError, match="family 'llama', which sees no images"):
        Viewer(subject(text, "llama"), prompt="llava", pad=True, new_tokens=4)
    bare = shutil.copytree(llava, tmp_path / "bare")
    (bare / "processor_config.json").unlink()
    with pytest.raises(PrunebenchError, match="cannot load the processor of images") as error:
        Viewer(subject(bare), prompt="llava", pad=True, new_tokens=4)
    assert "\n" not in str(error.value)
    other = shutil.copytree(llava, tmp_path / "other")
    tokens = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps({**tokens, "image_token": "<pad>"}))
    with pytest.raises(PrunebenchError, match=r"token for an image is <pad>, not <image>\. Set 'prompt: template'"):
        Viewer(subject(other), prompt="llava", pad=True, new_tokens=4)
    (other / "chat_template.jinja").unlink()
    with pytest.raises(PrunebenchError, match="has no chat template: set 'prompt: llava'"):
        Viewer(subject(other), prompt="template", pad=True, new_tokens=4)
    viewer = Viewer(subject(llava), prompt="llava", pad=False, new_tokens=4)
    assert viewer.answers(["what<image>?"], [png(16, 16)]) == viewer.answers(["what?"], [png(16, 16)])
    with pytest.raises(PrunebenchError, match="an image cannot be read"):
        viewer.answers(["what?"], [b"no image"])
    long = Viewer(subject(llava), prompt="template", pad=False, new_tokens=1000)
    with pytest.raises(CellFailure, match=r"an answer of 1000 are longer than the model's context of 1024"):
        long.answers(["what is shown in this image?"], [png(16, 16)])


@pytest.mark.parametrize(
    ("suite", "task", "home", "asked", "title"),
    [
        (None, "textvqa_ocr", "textvqa_ocr", {"tasks": ["textvqa"], "ocr": True}, "textvqa_ocr"),
        (None, "textvqa", "textvqa", {"tasks": ["textvqa"]}, "textvqa"),
        ("textvqa_ocr", "textvqa", "textvqa_ocr", {"tasks": ["textvqa"], "ocr": True}, "textvqa_ocr"),
        (None, "scienceqa", "scienceqa", {"tasks": ["scienceqa"]}, "scienceqa"),
        (None, "boolq", "zeroshot7", {"tasks": ["boolq"]}, "boolq"),
    ],
)
def test_a_task_is_asked_for_by_its_name_in_scores(
    suite: str | None, task: str, home: str, asked: dict[str, Any], title: str
) -> None:
    chosen = evaluation(suite, [task])
    (entry,) = chosen.entries.items()
    assert entry[0] == home and {key: entry[1].params.get(key) for key in asked} == asked
    assert chosen.title == title and title in chosen.suites[home].tasks
