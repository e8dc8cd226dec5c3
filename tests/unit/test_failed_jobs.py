"""A failed job is a few lines on the terminal: its name, its error, and where its log is."""

from pathlib import Path
from typing import Any

import pytest

from prunebench.plan.jobs import named
from prunebench.plan.jobs.base import Job
from prunebench.view.failures import LINES, failure

PRUNE = named("prune", model="m", method="wanda", allocator="uniform", point="2of4", calibration="c_4x16", seed="0")
COMMAND = "PYTHONPATH=/x python -m prunebench.stages prune --spec '{...}'\n"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory in which nothing has run."""
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def told(*logs: str, message: str | None = None, indent: bool = False, job: Job = PRUNE) -> list[str]:
    """The lines on a failed job, as Snakemake describes it."""
    log = [str(job.log), *logs]
    details: dict[str, Any] = {"rule_name": job.rule, "log": log, "rule_msg": message, "indent": indent}
    return (failure(details) or "").splitlines()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("12:00:00 block 1 of 3\nerror: no such column: rename it\n", ["error: no such column: rename it"]),
        ("error: two mistakes\none\ntwo\n", ["error: two mistakes", "one", "two"]),
        (
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n  File "b.py", line 7\nKeyError: 1\n',
            ["KeyError: 1 (b.py, line 7)"],
        ),
        (
            "block 1 of 3\n",
            ["error: the job stopped without an error of its own, as if it was killed; its last words: block 1 of 3"],
        ),
        (
            "error: many\n" + "mistake\n" * 9,
            ["error: many", *["mistake"] * (LINES - 1), "and 4 more lines"],
        ),
    ],
)
def test_a_failed_job_is_named_with_its_error_and_its_log(text: str, shown: list[str]) -> None:
    write(PRUNE.log, COMMAND + text)
    lines = told()
    assert lines[0] == "Error in prune m/wanda/uniform/2of4/c_4x16-seed0:"
    assert [line.strip() for line in lines[1:]] == [*shown, f"log: {PRUNE.log}"]


def test_the_words_of_a_scheduler_are_shown_and_its_log_stands_in_for_an_absent_one() -> None:
    write(Path("slurm.log"), "error: no such node\n")
    assert [line.strip() for line in told("slurm.log", message="job 7: FAILED")[1:]] == [
        "error: no such node",
        "job 7: FAILED",
        f"log: {PRUNE.log}",
        "log: slurm.log",
    ]


def test_of_a_group_only_jobs_that_failed_are_named() -> None:
    assert failure({"groupid": "g", "aux_logs": ["slurm.log"]}) == "Error in group g:\n    log: slurm.log"
    assert told(indent=True) == [], "it was not begun"
    write(PRUNE.log, "error: no\n")
    assert told(indent=True)
    write(PRUNE.outputs[0])
    assert told(indent=True) == [], "it is done"
