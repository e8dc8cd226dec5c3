"""Locks of a killed snakemake are told from those of one that lives."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.storage.locks import release
from prunebench.upkeep import doctor, runs
from prunebench.upkeep.retry import refuse_while_running
from prunebench.view.recorded import RUNS

WORKFLOW = Path(__file__).parents[2] / "workflow"
RUN = """
import os, sys
sys.path.insert(0, {workflow!r})
from prunebench.upkeep import doctor, runs
from prunebench.upkeep.retry import refuse_while_running
from prunebench.view.recorded import RUNS
runs.begin()
print("begun", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_begun", [])
    file = tmp_path / ".snakemake/locks/0.output.lock"
    file.parent.mkdir(parents=True)
    yield file
    for record in runs._begun:
        release(record)


def start(lock: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(workflow=str(WORKFLOW))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    lock.touch()
    return process


def test_while_the_holder_lives_nothing_is_unlocked(lock: Path) -> None:
    process = start(lock)
    try:
        for force in (False, True):
            with pytest.raises(PrunebenchError, match=f"snakemake runs here, as process {process.pid} on .*: wait for"):
                runs.unlock(force)
        assert lock.exists()
    finally:
        process.communicate("")


@pytest.mark.parametrize("killed", [True, False])
def test_the_next_run_unlocks_after_a_dead_one(lock: Path, killed: bool) -> None:
    process = start(lock)
    if killed:
        process.kill()
    process.communicate(None if killed else "")
    finding = doctor.snakemake_locks()
    assert finding.level == "ok" and finding.text.endswith("by a killed run: the next run removes this lock")
    refuse_while_running()
    assert runs.begin() == "" and not lock.exists()
    assert len(list(RUNS.iterdir())) == 1, "of this process alone"


@pytest.mark.parametrize("recorded", [True, False], ids=["of another boot", "of no record"])
def test_what_cannot_be_known_is_for_the_user(lock: Path, recorded: bool) -> None:
    lock.touch()
    if recorded:
        RUNS.mkdir(parents=True)
        record = '{"pid": 7, "host": "far", "since": "then", "command": "snakemake"}'
        (RUNS / ".other-7.lock").write_text(record)
    with pytest.raises(PrunebenchError, match="run prunebench unlock first"):
        refuse_while_running()
    with pytest.raises(PrunebenchError, match="run prunebench unlock --yes") as error:
        runs.unlock()
    assert lock.exists() and ("process 7 on far since then" in str(error.value)) == recorded
    assert runs.unlock(force=True) and not lock.exists()
    assert not runs.unlock(), "nothing is locked any more"
