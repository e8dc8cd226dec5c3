"""Tests of the entries of models that are trained here: which are valid, and which changes train a model again."""

import json
from pathlib import Path
from typing import Any

import pytest

from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import spec_hash
from prunebench.plan.plan import load_plan
from prunebench.stages.fetch_model import fetch_model
from studies import STUDY, changed
from trained import trained

CONFIG = changed("studies.tiny.defaults.model", "mini", trained(STUDY))
SOURCE = "models.mini.source"


def message(path: str, value: Any) -> str:
    with pytest.raises(PrunebenchError) as error:
        load_plan(changed(path, value, CONFIG), "my.yaml")
    return str(error.value)


MISTAKES: list[tuple[str, Any, str]] = [
    (f"{SOURCE}.corpora", ["lesson"], f"{SOURCE}.corpora: unknown corpus 'lesson': did you mean 'lessons'?"),
    (f"{SOURCE}.corpora", ["text"], f"{SOURCE}.corpora: corpus 'text' is for evaluation: it has no split for training"),
    (f"{SOURCE}.unseen", ["lessons"], f"{SOURCE}.unseen: corpus 'lessons' is for training: it has one split, training"),
    (
        "studies.tiny.defaults.calibration",
        "lessons_4x16",
        "studies.tiny.defaults.calibration: corpus 'lessons' is for training: it has one split, training",
    ),
    (
        "suites.ppl_tiny.params.corpora",
        ["lessons"],
        "suites.ppl_tiny.params.corpora: corpus 'lessons' is for training: it has one split, training",
    ),
    ("models.mini.family", "llama", "models.mini: 'family' must be opt: no other family can be trained here"),
    (f"{SOURCE}.heads", 5, "models.mini: 'shape.attention' must be 'shape.hidden', and 'source.heads' must divide it"),
    (
        "models.mini.format",
        "gguf",
        "models.mini: 'format' and 'pre_tokenizer' are for models that arrive, not for those trained here",
    ),
    (
        "models.mini.shape",
        None,
        "models.mini: 'shape' is needed: the model is not here yet, so its sizes must be stated",
    ),
]


@pytest.mark.parametrize(("path", "value", "expected"), MISTAKES)
def test_a_mistake_is_explained(path: str, value: Any, expected: str) -> None:
    assert message(path, value).startswith(f"my.yaml: {expected}")


def hashes(config: dict[str, Any]) -> dict[str, str]:
    plan = load_plan(config)
    return {
        "training": spec_hash(plan.job("train_model", model="mini").spec),
        "model": spec_hash(plan.asset("models/mini").spec),
    }


@pytest.mark.parametrize(
    ("path", "value", "changes"),
    [
        ("models.mini.title", "Another title", False),
        ("corpora.lessons.title", "Another title", False),
        ("compute.threads", 2, False),
        (f"{SOURCE}.seed", 1, True),
        (f"{SOURCE}.steps", 61, True),
        (f"{SOURCE}.compute.threads", 2, True),
        ("models.mini.shape.blocks", 3, True),
        ("corpora.lessons.documents", "blank_lines", True),
        ("corpora.text.documents", "blank_lines", True),
    ],
)
def test_what_changes_a_trained_model_changes_all_that_is_made_from_it(path: str, value: Any, changes: bool) -> None:
    before, after = hashes(CONFIG), hashes(changed(path, value, CONFIG))
    assert {kind: before[kind] != after[kind] for kind in before} == {"training": changes, "model": changes}


def test_without_a_workflow_there_is_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError, match=r"run snakemake resources/models/mini/asset.json --cores 1 in a project"):
        fetch_model(load_plan(CONFIG).asset("models/mini").spec, asset=tmp_path / "mini" / "asset.json")


def test_local_text_to_train_on_must_be_there(tmp_path: Path) -> None:
    assert message("corpora.lessons.source", {"kind": "path", "path": str(tmp_path / "nothing")}).startswith(
        "my.yaml: corpora.lessons.source.path: no such file or directory"
    )


def test_the_inputs_of_the_job_are_in_the_order_of_its_spec() -> None:
    essays = changed("corpora.essays", STUDY["corpora"]["text"], CONFIG)
    plan = load_plan(changed(f"{SOURCE}.unseen", ["text", "essays"], essays))
    job = plan.job("train_model", model="mini")
    assert list(json.loads(job.spec)["corpora"]) == ["essays", "lessons", "text"]
    assert [other.wildcards["corpus"] for other in job.upstream] == ["essays", "lessons", "text"]


def test_the_threads_of_the_job_are_those_of_its_source() -> None:
    assert load_plan(changed(f"{SOURCE}.compute.threads", 2, CONFIG)).job("train_model", model="mini").threads == 2
