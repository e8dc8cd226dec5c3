"""The texts that requests of OLMo's evaluation are about."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from prunebench.assets.requests import read_passages
from prunebench.errors import PrunebenchError

REQUESTS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "coqa": (
        [{"doc": {"story": " A story. "}}, {"doc": {"story": "A story."}}, {"doc": {"story": "Another."}}],
        ["A story.", "Another."],
    ),
    "squad": (
        [{"doc": {"query": "Title: T\nBackground: One.\nQuestion: two.\nQuestion: Who?\nAnswer:"}}],
        ["One.\nQuestion: two."],
    ),
    "drop": ([{"doc": {"passage": "Passage.", "query": "Passage: Passage.\nQuestion: Who?"}}], ["Passage."]),
    "qasper_yesno": (
        [
            {"doc": {"full_text": {"paragraphs": [["One.", "Two."], ["Three."]]}}},
            {"doc": {"full_text": {"paragraphs": []}}},
        ],
        ["One.\nTwo.\nThree."],
    ),
    "boolq": ([{"doc": {"query": "Title -- Text.\nQuestion: is it\nAnswer:"}}], ["Title -- Text."]),
    "hellaswag": (
        [
            {"idx": 0, "label": 1, "doc": {"query": "He sits"}, "request": {"continuation": " on air."}},
            {"idx": 1, "label": 1, "doc": {"query": "He sits"}, "request": {"continuation": " down."}},
        ],
        ["He sits down."],
    ),
}


@pytest.mark.parametrize("task", REQUESTS)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_the_text_of_each_task(task: str, suffix: str, tmp_path: Path) -> None:
    requests, expected = REQUESTS[task]
    text = "".join(json.dumps({"task_name": task, **request}) + "\n" for request in requests).encode()
    file = tmp_path / f"requests{suffix}"
    file.write_bytes(gzip.compress(text, mtime=0) if suffix.endswith(".gz") else text)
    assert read_passages(file) == expected


@pytest.mark.parametrize(
    "request_",
    [{"task_name": "gsm8k", "doc": {}}, {"doc": {}}, {"task_name": "coqa", "doc": {}}, {"task_name": "coqa"}],
)
def test_other_requests_are_refused(request_: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(json.dumps(request_))
    with pytest.raises(PrunebenchError, match="does not hold requests of one of the tasks") as error:
        read_passages(file)
    assert str(file) in str(error.value)
