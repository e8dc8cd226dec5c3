"""A full disk is told in one line, whatever library has met it."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from prunebench.errors import PrunebenchError, disk_errors_told

FULL = Path("/dev/full")
needs_device = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def by_torch() -> None:
    torch.save({"a": torch.zeros(100_000)}, FULL)


def by_numpy() -> None:
    np.save(FULL.open("wb"), np.zeros(100_000))


def by_python() -> None:
    FULL.write_text("text")


def by_safetensors() -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def by_quota() -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded", "no/such/folder/file")


def by_another_error() -> None:
    try:
        by_python()
    except OSError as error:
        raise ValueError("cannot be written") from error


@needs_device
@pytest.mark.parametrize("write", [by_torch, by_numpy, by_python, by_safetensors, by_quota, by_another_error])
def test_who_meets_a_full_disk(write: Callable[[], None]) -> None:
    told = r"^the disk is full: .* MB are free at /.*\. Free space there"
    with pytest.raises(PrunebenchError, match=told), disk_errors_told():
        write()


def test_other_errors_stay() -> None:
    with pytest.raises(OSError, match="Permission"), disk_errors_told():
        raise OSError(errno.EACCES, "Permission denied")


COMMANDS = {
    "job": "from prunebench.runtime import script; script.run(lambda: open('/dev/full', 'wb', 0).write(b'text'))",
    "command": "import sys; sys.argv[1:] = ['doctor']; from prunebench.cli import app; app()",
}


@needs_device
@pytest.mark.parametrize("code", COMMANDS.values(), ids=COMMANDS)
def test_how_a_job_and_a_command_end(code: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "workflow")}
    with FULL.open("w") as out:
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, stdout=out, stderr=subprocess.PIPE, text=True
        )
    assert run.returncode == 1
    assert "error: the disk is full: " in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "meet",
    [
        lambda folder: (folder / "file/x").write_text("x"),
        lambda folder: (folder / "folder").write_text("x"),
        lambda folder: (folder / "absent").read_text(),
        lambda folder: (folder / "file").replace(folder / "folder"),
        lambda folder: Path("/proc/absent").mkdir(),
    ],
    ids=["below a file", "a folder", "absent", "moved", "unwritable"],
)
def test_other_refusals_of_a_disk_name_the_place(meet: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(PrunebenchError, match=r"(file|folder|absent).* cannot be read or written \(.*\): mend") as told,
        disk_errors_told(),
    ):
        meet(tmp_path)
    assert "\n" not in str(told.value)
