"""The terminal of a run says what is done, what is running and how long the rest takes, and little else."""

import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from dag.tree import REPOSITORY
from prunebench.estimate.terminal import EVERY, Bottom, Brief, Progress, expected, name
from prunebench.plan.graph import jobs
from prunebench.plan.plan import load_plan
from prunebench.runtime.script import ERASE


def record(event: str | None, message: str | None = None, **details: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.INFO, "", 0, message, None, None)
    vars(made).update({"event": event, **details} if event else details)
    return made


def brief_of(progress: Callable[[], Progress], say: Callable[[str], None], bottom: Bottom | None = None) -> Brief:
    """A filter that says of failed jobs only their ids, and of the rest of a group nothing."""

    def failure(details: Mapping[str, Any]) -> str | None:
        return None if details.get("indent") else f"failed: {details['jobid']}"

    return Brief(progress, say, bottom, complain=say, failure=failure, made=lambda: "all of it")


def test_the_time_left_is_the_share_of_the_work_at_the_speed_so_far() -> None:
    progress = Progress({1: 60.0, 2: 60.0, 3: 120.0}, total=4, started=100.0)
    assert progress.line(100.0) == "[0 of 4 jobs done]"
    progress.start(1, "prune", {"method": "wanda"})
    progress.start(2, "evaluate", {"method": "wanda", "suite": "ppl"})
    assert progress.line(110.0) == "[0 of 4 jobs done, now: prune wanda; evaluate wanda ppl]"
    progress.finish(1)
    assert progress.line(130.0) == "[1 of 4 jobs done, 2 min left, now: evaluate wanda ppl]"
    progress.finish(2)
    assert progress.line(160.0) == "[2 of 4 jobs done, 60 s left]"


def test_a_job_that_failed_is_not_named_as_running() -> None:
    said: list[str] = []
    brief = brief_of(lambda: Progress({7: 10.0, 8: 10.0}, total=2), said.append)
    brief.begin()
    for job in (7, 8):
        brief.filter(record("job_info", jobid=job, rule_name="prune", wildcards={"method": f"method{job}"}))
    assert not brief.filter(record("job_error", jobid=7))
    brief.filter(record("progress", done=0, total=2))
    assert said[0] == "failed: 7"
    assert "now: prune method8" in said[1] and "method7" not in said[1]


def test_where_nothing_is_left_to_do_the_results_are_named() -> None:
    brief = brief_of(lambda: pytest.fail("no job runs"), lambda line: pytest.fail("a line stays"))
    nothing = record(None, "Nothing to be done (all requested files are present and up to date).")
    assert brief.filter(nothing)
    assert nothing.msg == "Nothing to be done (all requested files are present and up to date).\nall of it"


def test_the_command_of_a_failed_job_is_left_out() -> None:
    said: list[str] = []
    brief = brief_of(lambda: Progress({}, total=2), said.append)
    brief.begin()
    command = "RuleException:\nCalledProcessError in file \"prune.smk\", line 35:\nCommand 'python --spec ...'"
    assert not brief.filter(record("error", command))
    assert brief.filter(record("error", 'RuleException:\nNameError in file "prune.smk", line 35'))
    assert not brief.filter(record("job_error", jobid=7, indent=True)) and said == []


def test_a_model_that_cannot_be_read_stops_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = tiny.make_model(tmp_path / "model")
    (tmp_path / "text.txt").write_text("a line of text\n" * 999)
    source = {"kind": "path", "path": str(tmp_path / "text.txt")}
    raw = {
        "studies": {"s": {"suites": ["p"], "grid": [{"model": "m", "method": "magnitude", "sparsity": 0.5}]}},
        "models": {"m": {"title": "M", "family": "llama", "source": {"kind": "path", "path": str(directory)}}},
        "corpora": {"t": {"title": "T", "documents": "lines", "source": source}},
        "suites": {"p": {"suite": "perplexity", "params": {"corpora": ["t"], "seqlen": 16}}},
    }
    plan = load_plan(raw, catalog=tmp_path)
    pending = {number: (job.rule, job.wildcards) for number, job in enumerate(jobs(plan))}
    (directory / "config.json").unlink()
    assert expected(plan, pending).left.keys() == pending.keys()


def test_many_running_jobs_are_counted() -> None:
    progress = Progress({number: 1.0 for number in range(9)}, total=9)
    for number in range(5):
        progress.start(number, f"job{number}", {})
    assert "now: job0; job1; job2 and 2 more" in progress.line(0.0)


def test_details_of_jobs_are_left_out_and_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    clock = [1000.0]
    monkeypatch.setattr("prunebench.estimate.terminal.time.monotonic", lambda: clock[0])
    brief = brief_of(lambda: Progress({7: 10.0, 8: 10.0}, total=2), said.append)
    info = {"jobid": 7, "rule_name": "prune", "wildcards": {"model": "tiny", "method": "wanda", "seed": "0"}}
    assert brief.filter(record("job_info", **info)), "a dry run shows all jobs"
    brief.begin()
    assert not brief.filter(record("job_info", **info))
    for noise in (record("job_started", "Execute 1 jobs..."), record(None, "Select jobs to execute...")):
        assert not brief.filter(noise)
    for kept in (
        record("run_info"),
        record(None, "Building DAG of jobs..."),
        record("error", "no"),
    ):
        assert brief.filter(kept)
    assert said == []
    assert not brief.filter(record("progress", done=0, total=2))
    assert said == ["[0 of 2 jobs done, now: prune tiny wanda]"]
    assert not brief.filter(record("job_finished", job_id=7))
    assert not brief.filter(record("progress", done=1, total=2))
    assert len(said) == 1, "too early for another line"
    clock[0] += EVERY
    assert not brief.filter(record("progress", done=1, total=2))
    assert said[1].startswith("[1 of 2 jobs done")


def test_on_a_terminal_the_line_is_at_the_bottom_and_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()

    def written() -> str:
        text = stream.getvalue()
        stream.seek(stream.truncate(0))
        return text

    brief = brief_of(lambda: Progress({7: 10.0}, total=1), lambda line: pytest.fail("a line stays"), Bottom(stream))
    brief.begin()
    assert not brief.filter(record("job_info", jobid=7, rule_name="prune", wildcards={"method": "wanda"}))
    assert written() == f"{ERASE}[0 of 1 jobs done, now: prune wanda]\r"
    assert not brief.filter(record("job_info", jobid=8, rule_name="prune", wildcards={"method": "sparsegpt"}))
    assert written() == f"{ERASE}[0 of 1 jobs done, now: prune wanda;...\r"
    assert brief.filter(record(None, "a warning"))
    assert written() == ERASE
    assert not brief.filter(record("job_finished", job_id=7))
    assert written() == ERASE, "nothing is left to do"


def test_a_terminal_that_has_gone_ends_no_run() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    brief = brief_of(lambda: Progress({7: 10.0}, total=1), lambda line: pytest.fail("a line stays"), Bottom(Gone()))
    brief.begin()
    assert not brief.filter(record("job_info", jobid=7, rule_name="prune", wildcards={"method": "wanda"}))
    assert brief.filter(record(None, "a warning"))


def test_the_work_of_every_rule_can_be_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = load_plan(yaml.safe_load(Path("config/config.yaml").read_text()), "config/config.yaml")
    pending: dict[Any, Any] = {number: (job.rule, job.wildcards) for number, job in enumerate(jobs(plan))}
    progress = expected(plan, {**pending, "all": ("all", {})})
    assert progress.left.keys() == pending.keys()
    assert progress.total == len(pending) + 1
    assert min(progress.left.values()) > 0


def test_a_job_is_named_by_what_tells_it_apart() -> None:
    cell = {"point": "2of4", "suite": "ppl", "model": "tiny", "seed": "0", "method": "wanda"}
    assert name("evaluate", cell) == "evaluate tiny wanda 2of4 ppl"
    assert name("prune", {"point": "unstructured-s0.50", "method": "wanda"}) == "prune wanda 0.50"
    assert name("collect", {}) == "collect"


def test_in_a_run_a_job_is_named_without_what_all_jobs_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default study has one model and one seed."""
    monkeypatch.chdir(REPOSITORY)
    plan = load_plan(yaml.safe_load(Path("config/config.yaml").read_text()), "config/config.yaml")
    progress = expected(plan, {})
    for job in jobs(plan):
        progress.start(str(job), job.rule, job.wildcards)
    names = set(progress.running.values())
    assert {"fetch_model", "prune magnitude uniform 0.50", "evaluate wanda owl 0.70 ppl", "tables zeroshot"} <= names
    assert not any("smollm2_135m" in name or "quickstart" in name for name in names)
