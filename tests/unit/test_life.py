"""Whether a job runs is seen by the lock on its log, which dies with it however it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.view import logs

WORKFLOW = Path(__file__).parents[2] / "workflow"
JOB = """
import sys
from prunebench.runtime import script

def body():
    print("started", flush=True)
    sys.stdin.readline()

script.run(body)
"""


def start(log: Path) -> "subprocess.Popen[str]":
    """A job that waits for a line, its log as Snakemake's shell makes it."""
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", JOB],
            env={"PYTHONPATH": str(WORKFLOW)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout and process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("end", ["finish", "kill"])
def test_a_job_runs_until_it_ends_in_whatever_way(end: str, tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    with start(log) as process:
        assert logs.running(log)
        assert logs.running(log), "looking took the lock away"
        if end == "kill":
            process.kill()
        process.communicate("go on\n")
    assert not logs.running(log)


def test_no_log_is_no_job(tmp_path: Path) -> None:
    assert not logs.running(tmp_path / "none.log")


def test_a_terminal_or_pipe_instead_of_a_log_is_no_obstacle() -> None:
    run = subprocess.run(
        [sys.executable, "-c", JOB], env={"PYTHONPATH": str(WORKFLOW)}, input="\n", capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_what_a_log_says(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    command = "PYTHONPATH=/a python prune.py --spec '{\"a\": 1}' --result results/x.json"
    lines = [
        command,
        "10:00:00 block 3 of 30 done after 2 s, about 46 s left",
        "10:00:02 block 6 of 30 done after 3 s, about 1.2 min left",
        "",
        "oops",
    ]
    log.write_text("\n".join(lines) + "\n")
    assert logs.command(log) == command
    assert Path("results/x.json") in map(Path, logs.words(log))
    assert logs.progress(log) == "block 6 of 30 done after 3 s, about 1.2 min left"
    assert logs.tail(log, 2) == [lines[2], "oops"]
    with log.open("a") as handle:
        handle.write("10:00:09 block 30 of 30 done after 9 s: perplexity 3.0\n")
    assert logs.progress(log) == "block 30 of 30 done after 9 s"
    log.write_text("\n".join(lines) + "\n")
    assert logs.last_words(log) == "oops"


def test_a_log_without_a_word(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.touch()
    assert (logs.command(log), logs.progress(log), logs.tail(log, 3)) == ("", "", [])
    assert logs.last_words(log) == "killed before it said anything"


def test_the_end_of_a_long_log_is_enough(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("line\n" * logs.TAIL + "the end\n")
    assert logs.tail(log, 1) == ["the end"]
