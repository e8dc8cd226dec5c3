"""Several processes write, read and tidy up the files of results at the same time."""

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.storage import sealed
from prunebench.storage.files import atomic_path, named_destination, named_file, named_path, write_text
from prunebench.storage.sealed import Damaged, check_mark, mark
from prunebench.upkeep.garbage import Orphan, delete, orphans
from prunebench.view import logs


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "cells.csv"
    with atomic_path(file) as first:
        first.write_text("first")
        with atomic_path(file) as second:
            second.write_text("second")
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    file, texts = tmp_path / "cells.csv", [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=lambda text=text: [write_text(file, text) for _ in range(20)]) for text in texts]
    failures: list[object] = []
    threading.excepthook, before = failures.append, threading.excepthook
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = before
    assert not failures
    assert file.read_text() in texts and list(tmp_path.iterdir()) == [file]


def test_the_file_of_a_killed_writer_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".cells.csv.part").write_text("left by a killed writer, and longer")
    write_text(tmp_path / "cells.csv", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["cells.csv"]
    assert (tmp_path / "cells.csv").read_text() == "new"


def test_a_mark_that_is_about_to_be_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cells.csv"
    file.write_text("old")
    mark(file)
    file.write_text("new")
    with pytest.raises(Damaged, match=r"cells\.csv"):
        check_mark(file)
    monkeypatch.setattr(sealed.time, "sleep", lambda seconds: mark(file))
    check_mark(file)


@pytest.mark.parametrize(
    "name", ["cells.csv", "calibration/tiny/text_4x16-seed0.npy", "searches/evolved/seed0.json", "report/index.html"]
)
def test_what_a_live_process_writes_is_no_garbage(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = Path("results") / name
    with atomic_path(result) as temporary:
        temporary.write_text("half")
        assert orphans([], unfinished=True) == []
    temporary.write_text("left")
    result.unlink()
    lock = result.with_name(f".{result.name}.lock")
    lock.touch()
    assert {orphan.path for orphan in orphans([], unfinished=True)} == {temporary, lock}
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [orphan.path for orphan in orphans([], unfinished=True)] == [temporary]


def test_what_others_delete_or_fill_meanwhile_is_no_error(tmp_path: Path) -> None:
    gone, filled, empty = (tmp_path / "results/pruned" / name for name in ("gone/x", "filled/x", "empty/x"))
    for path in (filled, empty):
        path.parent.mkdir(parents=True)
        path.touch()
    (filled.parent / "new").touch()
    delete([Orphan(path, "prune", 1) for path in (gone, filled, empty)])
    assert sorted(path.name for path in (tmp_path / "results/pruned").iterdir()) == ["filled"]


@pytest.mark.parametrize("first", ["PYTHONPATH=x python -m 'prunebe", "PYTHONPATH=x python 'a\n", "", "\xff\n", None])
def test_a_log_without_a_whole_command_names_no_files(first: str | None, tmp_path: Path) -> None:
    log = tmp_path / "prune.log"
    if first is not None:
        log.write_text(first)
    assert logs.words(log) == []


@pytest.fixture
def special(tmp_path: Path) -> dict[str, Path]:
    """Paths in whose place no file may be written."""
    places = {name: tmp_path / name for name in ("pipe", "link to a pipe", "device", "circle", "half a circle")}
    os.mkfifo(places["pipe"])
    places["link to a pipe"].symlink_to(places["pipe"])
    places["device"] = Path(os.devnull)
    places["circle"].symlink_to(places["circle"])
    places["half a circle"].symlink_to(places["circle"] / "x")
    return places


@pytest.mark.parametrize("name", ["pipe", "link to a pipe", "device"])
def test_no_file_takes_the_place_of_a_device_or_a_pipe(name: str, special: dict[str, Path], tmp_path: Path) -> None:
    place = special[name]
    with pytest.raises(PrunebenchError, match="device or a pipe"):
        named_file(str(place), "--out")
    if place.parent == tmp_path:  # a test that fails must not cost the machine its devices
        with pytest.raises(PrunebenchError, match="device or a pipe"):
            write_text(place, "text")
        assert not place.is_file()


@pytest.mark.parametrize("read", [named_path, named_destination, named_file])
@pytest.mark.parametrize("name", ["circle", "half a circle"])
def test_links_in_a_circle_are_told(name: str, read: Callable[[str, str], Path], special: dict[str, Path]) -> None:
    for path in (special[name], special[name] / "below"):
        with pytest.raises(PrunebenchError, match=r"^--out: the links of .* lead in a circle"):
            read(str(path), "--out")


def test_a_file_to_be_written_is_what_its_link_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(named_file(str(tmp_path / "link"), "--out"), "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "text"
    with pytest.raises(PrunebenchError, match="is a directory"):
        named_file(str(tmp_path), "--out")
