"""Digests of files are remembered as long as the system says that a file is untouched, and no longer."""

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.storage import digests


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    return tmp_path / "cache/digests.json"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read."""
    read: list[Path] = []
    original = digests.sha256_file
    monkeypatch.setattr(digests, "sha256_file", lambda path: read.append(path) or original(path))
    return read


def in_place(path: Path, _: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"B")


def copied(path: Path, other: Path) -> None:
    shutil.copy2(other, path)


def moved(path: Path, other: Path) -> None:
    other.rename(path)


@pytest.mark.parametrize("change", [in_place, copied, moved], ids=lambda change: change.__name__)
def test_another_content_of_equal_size_and_time_is_seen(
    change: Callable[[Path, Path], None], tmp_path: Path, reads: list[Path]
) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"AAA")
    other.write_bytes(b"BAA")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    os.utime(other, ns=times)
    assert digests.digests_of([path]) == digests.digests_of([path]) == [sha256(b"AAA").hexdigest()]
    assert len(reads) == 1
    change(path, other)
    os.utime(path, ns=times)
    assert digests.digests_of([path]) == [sha256(b"BAA").hexdigest()]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\0"])
def test_a_damaged_memory_is_no_memory(content: str, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"AAA")
    cache.parent.mkdir()
    cache.write_text(content)
    assert digests.digests_of([tmp_path / "file"]) == [sha256(b"AAA").hexdigest()]


def test_a_file_that_was_just_written_is_read_again(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED", 60.0)
    (tmp_path / "file").write_bytes(b"AAA")
    digests.digests_of([tmp_path / "file"])
    digests.digests_of([tmp_path / "file"])
    assert len(reads) == 2


def test_a_file_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError, match="cannot be read: No such file"):
        digests.digests_of([tmp_path / "file"])
