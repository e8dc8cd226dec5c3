"""Names that come from files: what is plain, what stays inside a directory, and who checks them."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from prunebench.assets.hub import Repository
from prunebench.assets.manifest import FileRecord, Manifest
from prunebench.assets.sources import extract_members
from prunebench.config.entries import CorpusEntry, ModelEntry
from prunebench.config.sources import HubModelSource, PackageSource, PathSource
from prunebench.config.tasks import TasksEntry
from prunebench.config.values import Calibration, Slug
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.names import inert, is_inner_path, is_plain_name, unseen
from prunebench.plan import paths
from prunebench.standalone.request import slug
from prunebench.storage.layout import weight_files
from studies import PACKAGE

CONTROL = ("a\nb", "a\0b", "\x1b[2J", "a\u202eb", "a\u2028b", "\ud800")
OUTSIDE = ("..", ".", "", " ", "../a", "/a", "a/../b", "a//b", "./a", "a/", "a\\b", "..\\a", *CONTROL)
OPTIONS = ("--proxy=http://x", "-r requirements.txt", "a; id", "a @ http://x", "a[b]", "a b", "-")
BAD_SLUGS = (
    "X",
    "x.measured",
    "x.json",
    "x.parts",
    "x.",
    ".x",
    "x..1",
    "x-y",
    "a" * 101,
    "ab" * 20,
    "é",
    "",
    "_x",
    "x\n",
)


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
def test_a_path_that_leaves_its_directory_is_none(path: str) -> None:
    assert not is_inner_path(path) and not is_plain_name(path)


def test_plain_names_and_inner_paths() -> None:
    assert is_plain_name("model-00001-of-00002.safetensors") and is_inner_path("a/b c/d.json")
    assert not is_plain_name("a/b") and not is_plain_name(None) and not is_inner_path(7)


@pytest.mark.parametrize("name", BAD_SLUGS, ids=ascii)
def test_names_of_entries_that_could_collide_with_files_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Slug).validate_python(name)


@pytest.mark.parametrize("name", ["opt_1.3b", "a", "7b", "ppl_tiny_2", "x.0.1", "a" * 19])
def test_names_of_entries_are_names_of_files_and_wildcards(name: str) -> None:
    assert TypeAdapter(Slug).validate_python(name) == name
    assert re.fullmatch(paths.WILDCARDS["model"], name)


@pytest.mark.parametrize("name", ["mine.v2", "My Model", "../x", "", "a\nb", "OPT-1.3B", "...", "x.json"])
def test_a_name_made_from_a_directory_is_one(name: str) -> None:
    assert TypeAdapter(Slug).validate_python(slug(name))


@pytest.mark.parametrize(
    "name", ["text_4x1", "text_0x16", "text_4x0", "text_4x9999999999", "text_4", f"a{'_1x2' * 20}"]
)
def test_calibrations_that_no_model_can_read_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Calibration).validate_python(name)


@pytest.mark.parametrize("key", ["package", "version", "file"])
@pytest.mark.parametrize("value", [*OUTSIDE, *OPTIONS, "a/b"], ids=ascii)
def test_no_name_of_a_package_is_an_option_or_leaves_its_directory(key: str, value: str) -> None:
    with pytest.raises(ValidationError):
        PackageSource.model_validate({**PACKAGE, key: value})


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
def test_members_stay_in_their_archive_and_their_new_names_in_the_directory(path: str) -> None:
    rows = {"stock": "glue/rte/default.yaml", "rows": {"validation": "rte.jsonl"}}
    source = {key: value for key, value in PACKAGE.items() if key != "members"}
    tries: list[tuple[Any, dict[str, Any]]] = [
        (PackageSource, {**PACKAGE, "members": [path]}),
        (PackageSource, {**PACKAGE, "members": {"a": path}}),
        (PackageSource, {**PACKAGE, "members": {path: "a"}}),
        (TasksEntry, {"title": "T", "source": source, "tasks": {"rte": {**rows, "stock": path}}}),
        (TasksEntry, {"title": "T", "source": source, "tasks": {"rte": {**rows, "rows": {"validation": path}}}}),
        (TasksEntry, {"title": "T", "source": source, "tasks": {path: rows}}),
    ]
    files = {"calibration": [path]}
    hub = {"kind": "hub", "repo": "a/b", "revision": "main", "files": files}
    tries.append((CorpusEntry, {"title": "T", "source": hub, "documents": "parquet"}))
    for model, raw in tries:
        with pytest.raises(ValidationError):
            model.model_validate(raw)


@pytest.mark.parametrize("value", [*OUTSIDE, *OPTIONS], ids=ascii)
@pytest.mark.parametrize("key", ["repo", "revision"])
def test_no_name_on_the_hub_leaves_it(key: str, value: str) -> None:
    with pytest.raises(ValidationError):
        HubModelSource.model_validate({"kind": "hub", "repo": "a/b", "revision": "main", key: value})


@pytest.mark.parametrize("path", [*CONTROL, "", " "], ids=ascii)
def test_a_path_that_no_terminal_can_show_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        PathSource(kind="path", path=path)


@pytest.mark.parametrize("title", [*CONTROL, "", " ", "x" * 301, "a\tb"], ids=ascii)
def test_titles_are_one_line_that_can_be_seen(title: str) -> None:
    with pytest.raises(ValidationError):
        ModelEntry.model_validate({"title": title, "family": "opt", "source": {"kind": "path", "path": "x"}})


@pytest.mark.parametrize("name", OUTSIDE, ids=ascii)
def test_an_asset_lists_files_in_its_directory_only(name: str) -> None:
    record = FileRecord(bytes=1, sha256="0" * 64)
    source = PathSource(kind="path", path="x")
    with pytest.raises(ValidationError):
        Manifest(spec_hash="", title="T", directory=Path(), files={name: record}, source=source)


def test_two_tasks_do_not_share_a_file() -> None:
    rows = {"stock": "glue/rte/default.yaml", "rows": {"validation": "rte.jsonl"}}
    many = {"stock": "mmlu/mmlu_*.yaml", "rows": {"test": "*.jsonl"}}
    base = {"title": "T", "source": {"kind": "path", "path": "x"}}
    for tasks in ({"rte": rows, "RTE": rows}, {"mmlu": many, "mmlu_law": rows}):
        with pytest.raises(ValidationError, match=r"rename it|upper and lower case"):
            TasksEntry.model_validate({**base, "tasks": tasks})


@pytest.mark.parametrize("text", CONTROL, ids=ascii)
def test_messages_and_reasons_have_no_characters_that_a_terminal_obeys(text: str) -> None:
    for error in (PrunebenchError(f"one\ntwo {text}"), CellFailure(text)):
        assert unseen(str(error).replace("\n", "")) is None
    assert unseen(inert(text)) is None and len(str(PrunebenchError("x" * 10_000))) < 4000


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
def test_no_file_of_a_repository_is_fetched_to_another_place(path: str) -> None:
    source = HubModelSource(kind="hub", repo="a/b", revision="main")
    with pytest.raises(PrunebenchError, match="only files inside a repository are fetched"):
        Repository(source, "0" * 40, (path,)).digest(path)


@pytest.mark.parametrize("name", [*OUTSIDE, "a/b", 7, None], ids=ascii)
def test_an_index_names_files_beside_it_only(name: object, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name, "b": "c"}}))
    with pytest.raises(PrunebenchError, match="only files in the model's own directory are read"):
        weight_files(tmp_path, {})
    with pytest.raises(PrunebenchError, match="only files in the model's own directory are read"):
        weight_files(tmp_path, {"transformers_weights": name if name is not None else 7})


@pytest.mark.parametrize("name", ["--pre", "../evil.txt", "/evil.txt", "a.txt"])
def test_members_of_an_archive_are_written_under_their_own_names_only(name: str, tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "text")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    files = extract_members(wheel, {"plain.txt": name, "other": "link"}, tmp_path / "inside")
    assert [file.parent for file in files] == [tmp_path / "inside"] * 2 and not files[1].is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "w.whl"]
