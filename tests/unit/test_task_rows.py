"""Files of many kinds -> the rows that lm-eval's tasks read."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from hub_server import HubServer
from prunebench.assets.manifest import load_manifest
from prunebench.assets.sources import expand
from prunebench.assets.tasks import load_rows, local_row_files, read_rows, stock_definitions
from prunebench.config.tasks import TaskData, TasksEntry
from prunebench.errors import PrunebenchError
from prunebench.stages.fetch_tasks import fetch_tasks

ROWS = [{"question": "Où?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "label": 1}, {"question": "x"}]
ROWS[1] |= {"choices": {"text": ["c"], "label": ["A"]}, "label": 0}


KINDS = ["rows.arrow", "rows.parquet", "rows.jsonl", "rows.jsonl.gz"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".arrow":
        table = pyarrow.Table.from_pylist(rows)
        with path.open("wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines)
    return path


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_holds_the_same_rows(name: str, tmp_path: Path) -> None:
    assert read_rows(write(tmp_path / name, ROWS)) == ROWS


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"\xff{"])
def test_damaged_files_are_named(name: str, damage: Any, tmp_path: Path) -> None:
    path = write(tmp_path / name, ROWS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PrunebenchError, match=rf"{path} (does not hold rows|holds no rows)"):
        read_rows(path)


def request(native_id: Any, doc: dict[str, Any], continuation: str) -> dict[str, Any]:
    return {"native_id": native_id, "doc": doc, "request": {"context": doc["query"], "continuation": continuation}}


ARC = {"id": "m1", "query": "Question: Why?\nAnswer:", "choices": ["so", "not"], "gold": 1}
ARC_2 = {"id": "m2", "query": "Question: Question: Who?\nAnswer:", "choices": ["I", "you", "we"], "gold": 0}
BOOLQ = {"idx": 0, "query": "T -- A\nQuestion: b?\nQuestion: is it?\nAnswer:", "choices": ["yes", "no"], "gold": 1}
LAMBADA = {"id": 0, "query": "he said  his", "choices": ["name"]}
ARC_ROW = {"id": "m1", "choices": {"text": ["so", "not"], "label": ["A", "B"]}, "answerKey": "B"}
ARC_ROW_2 = {"id": "m2", "choices": {"text": ["I", "you", "we"], "label": ["A", "B", "C"]}, "answerKey": "A"}
FORMS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "arc": (
        [request("m1", ARC, " so"), request("m1", ARC, " not"), request("m2", ARC_2, " I"), request("m1", ARC, " so")],
        [{**ARC_ROW, "question": "Why?"}, {**ARC_ROW_2, "question": "Question: Who?"}],
    ),
    "openbookqa": ([request("m1", ARC, " so")], [{**ARC_ROW, "question_stem": "Why?"}]),
    "boolq": (
        [request(0, BOOLQ, " yes"), request(0, BOOLQ, " no"), request(1, {**BOOLQ, "gold": 0}, " yes")],
        [{"passage": "T -- A\nQuestion: b?", "question": "is it", "label": label} for label in (0, 1)],
    ),
    "lambada": ([request(0, LAMBADA, " name")], [{"text": "he said  his name"}]),
}


@pytest.mark.parametrize("form", FORMS)
def test_requests_become_the_rows_that_they_were_made_of(form: str, tmp_path: Path) -> None:
    requests, rows = FORMS[form]
    assert read_rows(write(tmp_path / "requests.jsonl.gz", requests), form) == rows


@pytest.mark.parametrize("query", ["Why?\nAnswer:", "Question: Why?\nAnswer: "])
def test_requests_of_another_form_are_refused(query: str, tmp_path: Path) -> None:
    path = write(tmp_path / "requests.jsonl", [request("m1", {**ARC, "query": query}, " so")])
    with pytest.raises(PrunebenchError, match=r"does not hold requests of the task 'arc': ValueError: expected"):
        read_rows(path, "arc")


def test_a_star_stands_for_one_word_and_names_the_file() -> None:
    available = ["d/x/test.arrow", "d/y_2/test.arrow", "d/y_2/dev.arrow", "d/z/w/test.arrow", "e/x/test.arrow"]
    expected = {"m_x.test.arrow": "d/x/test.arrow", "m_y_2.test.arrow": "d/y_2/test.arrow"}
    assert expand({"m_*.test.arrow": "d/*/test.arrow"}, available, "here") == expected
    assert expand({"one": "e/x/test.arrow"}, available, "here") == {"one": "e/x/test.arrow"}
    with pytest.raises(PrunebenchError, match=r"here has no member d/\*/tst\.arrow: did you mean d/"):
        expand({"m_*": "d/*/tst.arrow"}, available, "here")
    assert stock_definitions("m", TaskData(stock="m/m_*.yaml", rows={"test": "*"}), {"m_x", "m_y_2", "n"}) == {
        "m_x": "m/m_x.yaml",
        "m_y_2": "m/m_y_2.yaml",
    }


def test_a_local_bundle_is_fetched_with_its_subjects(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for subject in ("law", "art"):
        (source / subject).mkdir(parents=True)
        write(source / subject / "rows.arrow", ROWS)
    write(source / "rte.jsonl.gz", ROWS[:1])
    (source / "unused.jsonl").write_text("not JSON")
    tasks = {
        "mmlu": {"title": "MMLU", "stock": "mmlu/default/mmlu_*.yaml", "rows": {"test": "*/rows.arrow"}},
        "rte": {"stock": "glue/rte/default.yaml", "rows": {"validation": "rte.jsonl.gz"}},
    }
    entry = {"title": "Few", "source": {"kind": "path", "path": str(source)}, "tasks": tasks}
    files = {"mmlu_art.test.arrow", "mmlu_law.test.arrow", "rte.validation.jsonl.gz"}
    assert set(local_row_files(TasksEntry.model_validate(entry))) == files
    fetch_tasks(json.dumps({"entry": entry}), asset=tmp_path / "few" / "asset.json")
    manifest = load_manifest(tmp_path / "few/asset.json")
    assert manifest.rows == {"mmlu_art.test": 2, "mmlu_law.test": 2, "rte.validation": 1}
    assert load_rows(manifest.directory, "mmlu_law") == {"test": ROWS}
    assert load_rows(manifest.directory, "rte") == {"validation": ROWS[:1]}
    assert json.loads((manifest.directory / "tasks.json").read_text()) == {
        "mmlu": {"mmlu_art": "mmlu/default/mmlu_art.yaml", "mmlu_law": "mmlu/default/mmlu_law.yaml"},
        "rte": {"rte": "glue/rte/default.yaml"},
    }
    (manifest.directory / "rte.validation.jsonl").unlink()
    with pytest.raises(PrunebenchError, match="--forcerun fetch_tasks"):
        load_manifest(tmp_path / "few/asset.json")


def test_rows_from_the_hub_are_those_of_its_files(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        f"main/{split}.parquet": write(tmp_path / f"{split}.parquet", ROWS[: n + 1]) for n, split in enumerate("ab")
    }
    commit = hub.add("datasets", "some/rows", {path: file.read_bytes() for path, file in files.items()})
    hub.connect(monkeypatch, tmp_path / "cache")
    source = {"kind": "hub", "repo": "some/rows", "revision": "main"}
    rows = {"test": "main/a.parquet", "train": "main/b.parquet"}
    entry = {"title": "Rows", "source": source, "tasks": {"rte": {"stock": "glue/rte/default.yaml", "rows": rows}}}
    fetch_tasks(json.dumps({"entry": entry}), asset=tmp_path / "tasks" / "asset.json")
    assert load_rows(tmp_path / "tasks", "rte") == {"test": ROWS[:1], "train": ROWS}
    manifest = load_manifest(tmp_path / "tasks/asset.json")
    assert manifest.arrival is not None and manifest.arrival.commit == commit
    rows["train"] = "main/c.parquet"
    with pytest.raises(PrunebenchError, match=r"some/rows has no file main/c\.parquet"):
        fetch_tasks(json.dumps({"entry": entry}), asset=tmp_path / "other" / "asset.json")
    assert not (tmp_path / "other/asset.json").exists()
