"""Rows of questions about images: what is no row of its form is one line, and no row that fails later."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from prunebench.assets.pictures import Archive, image_rows
from prunebench.errors import PrunebenchError

IMAGE = {"bytes": b"image", "path": None}
GOOD: dict[str, Any] = {
    "easy_vqa": ["what?", "red", 0],
    "vqav2": {"question": "what?", "answers": [{"answer": "red"}], "image": IMAGE},
    "textvqa": {"question": "what?", "answers": ["red"], "ocr_tokens": [], "image": IMAGE},
    "scienceqa": {"question": "what?", "choices": ["x", "y"], "answer": 1, "hint": None, "image": IMAGE},
}
BAD_ANSWERS = [None, [], "red", [None], [7], [["red"]], [{"answer": None}], [{"text": "red"}], {"answer": "red"}]


def read(form: str, record: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows that `record` becomes, as if a file held it; JSON itself has no bytes."""
    monkeypatch.setattr("prunebench.assets.pictures._records", lambda _: [record])
    (directory / "0.png").write_bytes(b"image")
    with zipfile.ZipFile(directory / "images.zip", "w") as archive:
        return image_rows(directory / "rows.json", form, {"0": directory / "0.png"}, Archive(archive))


@pytest.mark.parametrize("form", GOOD)
def test_good_rows(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = read(form, GOOD[form], tmp_path, monkeypatch)
    assert row["question"] == "what?" and row.get("answers", ["red"]) == ["red"] and row.get("hint", "") == ""


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        *[(form, {"question": value}) for form in GOOD if form != "easy_vqa" for value in (None, 7, ["what?"])],
        *[(form, {"answers": value}) for form in ("vqav2", "textvqa") for value in BAD_ANSWERS],
        *[(form, {"image": {"bytes": value}}) for form in GOOD if form != "easy_vqa" for value in (3, b"", None, "x")],
        *[(form, {"image": value}) for form in GOOD if form != "easy_vqa" for value in (b"image", 7, {})],
        *[("textvqa", {"ocr_tokens": value}) for value in (None, "DAKOTA", [None], [7], {"a": "b"})],
        *[("scienceqa", {"choices": value}) for value in (None, "xy", ["x", None], ["x", 7], [], list("ABCDEF"))],
        *[("scienceqa", {"answer": value}) for value in (None, True, False, 1.0, "1", -1, 2, [1])],
        *[("scienceqa", {"hint": value}) for value in (7, ["look"], False)],
    ],
)
def test_a_value_that_no_row_has_is_one_line(
    form: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PrunebenchError, match=rf"rows\.json does not hold rows of '{form}': ") as error:
        read(form, {**GOOD[form], **changes}, tmp_path, monkeypatch)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "record", [None, 7, "wr0", ["what?", "red"], [None, "red", 0], ["what?", None, 0], ["what?", "red", True], {}]
)
@pytest.mark.parametrize("form", GOOD)
def test_a_record_of_another_kind_is_one_line(
    form: str, record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PrunebenchError, match=rf"rows\.json does not hold rows of '{form}': ") as error:
        read(form, record, tmp_path, monkeypatch)
    assert "\n" not in str(error.value)


def test_an_array_of_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([GOOD["easy_vqa"]]))
    (tmp_path / "0.png").write_bytes(b"image")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        (row,) = image_rows(tmp_path / "rows.json", "easy_vqa", {"0": tmp_path / "0.png"}, Archive(archive))
        assert archive.namelist() == [row["image"]]
