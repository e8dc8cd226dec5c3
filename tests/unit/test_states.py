"""How cells stand before anything has run, and what their logs say then."""

import fcntl
import io
import json
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from prunebench import load_results
from prunebench.cli import app
from prunebench.errors import PrunebenchError
from prunebench.plan import find, graph
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, load_plan, read_plan
from prunebench.results.current import Results
from prunebench.suites import metrics
from prunebench.upkeep import known
from prunebench.view.recorded import own_record
from prunebench.view.states import State, states, stopped
from prunebench.view.status import watched
from studies import grid

WANDA = "tiny/wanda/uniform/unstructured-s0.50/text_4x16-seed0"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A study of which nothing has run, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"method": "dense"},
        {"method": ["magnitude", "wanda"], "sparsity": [0.5, 0.7]},
        {"method": "wanda", "allocator": "owl", "pattern": "2of4"},
    ]
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(grid(*rows)))
    return read_plan()


def look(plan: Plan) -> dict[str, State]:
    found = states(plan, Results(plan), ["tiny"])
    return {find.path_of(state.cell): state for state in found}


def job(plan: Plan, name: str, rule: str) -> Job:
    return next(job for job in graph.chain(plan, find.cell(plan, name), ["ppl_tiny"]) if job.rule == rule)


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(*words: str) -> str:
    run = CliRunner().invoke(app, list(words))
    assert run.exit_code == 0, run.output
    return run.stdout


def test_what_nobody_ran_is_missing_and_what_cannot_be_is_skipped(plan: Plan) -> None:
    found = look(plan)
    skipped = found.pop("tiny/wanda/owl/2of4/text_4x16-seed0")
    assert skipped.status == "skipped"
    assert skipped.reason == "2of4 fixes the sparsity of every linear, owl has nothing to decide"
    assert {(state.status, state.reason) for state in found.values()} == {("missing", "")}
    assert len(found) == 5


def test_a_log_without_a_result_is_a_stopped_job_with_its_last_words(plan: Plan) -> None:
    write(job(plan, WANDA, "prune").log, "PYTHONPATH=/w python prune.py\nMemoryError: no more\n")
    state = look(plan).pop(WANDA)
    assert (state.status, state.job) == ("stopped", job(plan, WANDA, "prune"))
    assert state.reason == f"prune {WANDA}: MemoryError: no more"


def test_a_job_that_a_living_run_has_begun_is_running_before_it_says_anything(plan: Plan) -> None:
    begun, record = job(plan, WANDA, "prune"), Path(f".snakemake/prunebench/runs/.{own_record().name}.lock")
    write(record)
    os.utime(record, (100, 100))
    write(begun.log)
    assert look(plan)[WANDA].reason == f"prune {WANDA}: killed before it said anything", "its run is dead"
    with record.open("rb") as run_of_snakemake:
        fcntl.flock(run_of_snakemake, fcntl.LOCK_EX)
        assert (look(plan)[WANDA].status, stopped(begun)) == ("running", False)
        assert f"\nrunning: prune {WANDA}\n" in run("status")
        assert run("retry") == "nothing has failed or was stopped; 4 have not run yet: snakemake --cores all\n"
        os.utime(begun.log, (99, 99))
        assert look(plan)[WANDA].status == "stopped", "an earlier run made the log"
        write(begun.log, "Traceback (most recent call last):\nImportError: no torch\n")
        assert look(plan)[WANDA].status == "stopped", "it has ended with an error"


def test_a_log_of_other_settings_says_nothing_of_this_config(plan: Plan) -> None:
    log = job(plan, WANDA, "prune").log
    command = "PYTHONPATH=/w python prune.py --spec '{\"seed\":9}' --threads 1"
    write(log, f"{command}\nblock 1 of 2 done after 1 s, about 1 s left\n")
    assert look(plan)[WANDA].status == "missing"
    with log.open("rb") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        assert look(plan)[WANDA].status == "missing"
        text = run("status")
    assert f"\nrunning with other settings or for another config: prune {WANDA}\n" in text
    assert "\nrunning: " not in text


def test_a_job_that_crashed_is_stopped_also_after_its_code_was_mended(plan: Plan) -> None:
    crashed = job(plan, WANDA, "prune")
    spec = json.dumps(json.loads(crashed.spec) | {"code": {"stage": "0"}})
    write(crashed.log, f"PYTHONPATH=/w python prune.py --spec {shlex.quote(spec)} --threads 1\nKeyError: 'q'\n")
    assert look(plan)[WANDA].status == "stopped"


def test_running_jobs_of_this_config_are_told_from_others(plan: Plan) -> None:
    ours = job(plan, WANDA, "prune")
    other = ours.log.with_name("text_8x16-seed0.log")
    command = f"PYTHONPATH=/w python prune.py --spec {shlex.quote(ours.spec)} --threads 1\n"
    write(ours.log, f"{command}block 1 of 2 done after 1 s, about 1 s left\n")
    write(other, command)
    with ours.log.open("rb") as ours_log, other.open("rb") as other_log:
        fcntl.flock(ours_log, fcntl.LOCK_EX)
        fcntl.flock(other_log, fcntl.LOCK_EX)
        assert look(plan)[WANDA].status == "running"
        text = run("status")
    assert f"\nrunning: prune {WANDA}\n" in text
    assert f"\nrunning with other settings or for another config: prune {WANDA.replace('4x16', '8x16')}\n" in text


def test_a_job_that_many_cells_wait_for_stops_them_all(plan: Plan) -> None:
    write(job(plan, WANDA, "calibrate").log, "error: the text is too short\n")
    stopped = {name for name, state in look(plan).items() if state.status == "stopped"}
    assert stopped == {WANDA, WANDA.replace("0.50", "0.70")}


def test_a_result_that_was_deleted_is_missing_and_not_stopped(plan: Plan) -> None:
    done = job(plan, WANDA, "prune")
    write(done.log, "sparsity 0.5000\n")
    write(done.benchmark)
    os.utime(done.log, (1, 1))
    assert not stopped(done)
    assert look(plan)[WANDA].status == "missing"
    # Started again since.
    os.utime(done.benchmark, (0, 0))
    assert stopped(done)


def test_status_counts_and_explains(plan: Plan) -> None:
    write(job(plan, WANDA, "prune").log, "MemoryError: no more\n")
    text = run("status")
    assert "tiny: 0 of 6 done, 1 stopped, 1 skipped, 4 missing" in text
    assert "skipped 2of4 fixes the sparsity of every linear, owl has nothing to decide" in text
    assert "MemoryError: no more" in text
    assert f"log: logs/prune/{WANDA}.log" in text


def test_a_display_that_is_updated_has_on_top_all_that_moves(plan: Plan) -> None:
    studies = plan.config.model_dump(mode="json", exclude_unset=True)
    two = load_plan({**studies, "studies": {"tiny": studies["studies"]["tiny"], "more": studies["studies"]["tiny"]}})
    running = job(plan, WANDA, "prune").log
    write(running)
    with running.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        console = Console(width=120, file=io.StringIO(), record=True)
        console.print(watched(two, states(two, Results(two), two.studies)))
    lines = console.export_text().splitlines()
    counts = "0 of 6 done, 1 running, 1 skipped, 4 missing"
    assert lines[:4] == [f"tiny: {counts}", f"more: {counts}", f"running: prune {WANDA}", "tiny"]
    assert lines.count("more") == 1 and not any(line.startswith("running") for line in lines[3:])


def test_status_for_programs(plan: Plan) -> None:
    write(job(plan, WANDA, "prune").log, "MemoryError: no more\n")
    found = {state["cell"]: state for state in map(json.loads, run("status", "--json").splitlines())}
    assert len(found) == 6
    assert found[WANDA] == {
        "study": "tiny",
        "cell": WANDA,
        "suite": "ppl_tiny",
        "status": "stopped",
        "reason": f"prune {WANDA}: MemoryError: no more",
        "log": f"logs/prune/{WANDA}.log",
    }


def test_show_of_a_stopped_cell_has_log_and_commands(plan: Plan) -> None:
    stopped = job(plan, WANDA, "prune")
    command = f"PYTHONPATH=/w python prune.py --spec {shlex.quote(stopped.spec)}"
    write(stopped.log, f"{command}\nMemoryError: no more\n")
    text = run("show", WANDA)
    assert "stopped" in text
    assert f"end of logs/prune/{WANDA}.log:\n  MemoryError: no more\n" in text
    assert f"that job alone, again: {command}\n" in text
    assert f"snakemake results/pruned/{WANDA}/prune.json --cores all\n" in text


def test_show_of_a_missing_cell_says_how_to_make_it(plan: Plan) -> None:
    text = run("show", WANDA)
    assert f"to make it: snakemake results/evaluations/{WANDA}/ppl_tiny.json --cores all\n" in text
    assert "rounding: nearest" in text


def test_show_of_a_skipped_cell_says_why(plan: Plan) -> None:
    assert "nothing to decide" in " ".join(run("show", "wanda/owl").replace("│", " ").split())


@pytest.mark.parametrize(
    "name",
    [
        WANDA,
        f"results/pruned/{WANDA}",
        f"results/pruned/{WANDA}/prune.json",
        f"results/evaluations/{WANDA}/ppl_tiny.json",
        f"logs/prune/{WANDA}.log",
        f"logs/evaluate/{WANDA}/ppl_tiny.log",
        "{here}/results/pruned/" + WANDA + "/",
        "wanda/0.50",
    ],
)
def test_a_cell_goes_by_its_path_or_enough_of_it(plan: Plan, name: str) -> None:
    assert find.path_of(find.cell(plan, name.format(here=Path.cwd()))) == WANDA


def test_a_name_for_several_cells_lists_them(plan: Plan) -> None:
    with pytest.raises(PrunebenchError, match=rf"'magnitude' fits several cells[^$]*{WANDA[:5]}magnitude/uniform"):
        find.cell(plan, "magnitude")


def test_a_wrong_cell_gets_the_nearest(plan: Plan) -> None:
    with pytest.raises(PrunebenchError, match=rf"no cell .* in the studies of config/config.yaml[^$]*{WANDA}"):
        find.cell(plan, WANDA.replace("wanda", "wandda"))


def test_a_wrong_study_gets_the_nearest(plan: Plan) -> None:
    run = CliRunner().invoke(app, ["status", "tinny"])
    assert run.exit_code == 1
    assert "no study 'tinny' in config/config.yaml: did you mean 'tiny'?" in run.output
    assert run.output.endswith("\na study of another file is reached with --configfile\n")


def test_a_study_of_another_config_gets_the_configs_that_were_run(plan: Plan) -> None:
    Path("config/second.yaml").write_text(Path("config/config.yaml").read_text())
    known.remember(read_plan(Path("config/second.yaml")))
    run = CliRunner().invoke(app, ["status", "papers"])
    others = "this is of config/config.yaml; there are also results of config/second.yaml: name another config by"
    mistake = "no study 'papers' in config/config.yaml (known: tiny)"
    assert run.exit_code == 1 and run.output == f"error: {mistake}\n{others} --configfile\n"
    with pytest.raises(PrunebenchError, match=f"^{re.escape(mistake)}\n{others} 'configfile'$"):
        load_results(study="papers")


@pytest.mark.parametrize("command", ["status", "show x", "retry", "collect", "gc"])
def test_without_a_config_it_says_where_to_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, command.split())
    assert run.exit_code == 1
    assert "run it where you run snakemake" in run.output


def test_collect_wants_a_config_that_was_run(plan: Plan) -> None:
    def refused() -> str:
        run = CliRunner().invoke(app, ["collect"])
        assert run.exit_code == 1 and isinstance(run.exception, SystemExit)
        assert not Path("results/cells.csv").exists()
        return " ".join(run.output.split())

    assert "config/config.yaml was never run here, so nothing of it is there to show: run it" in refused()
    Path("mine.yaml").write_text(Path("config/config.yaml").read_text())
    known.remember(read_plan(Path("mine.yaml")))
    assert "name a config that was run: --configfile mine.yaml" in refused()
    assert "5 missing" in run("collect", "--configfile", "mine.yaml")
    known.remember(plan)
    assert "5 missing" in run("collect")


def test_gc_wants_a_config_that_was_run(plan: Plan) -> None:
    assert run("gc") == "0 orphans, 0 bytes\n"
    write(job(plan, WANDA, "prune").outputs[0])
    refused = CliRunner().invoke(app, ["gc", "--yes"])
    assert refused.exit_code == 1 and "no config was run here" in " ".join(refused.output.split())
    assert run("gc", "--configfile", "config/config.yaml") == "0 orphans, 0 bytes\n"
    known.remember(plan)
    assert run("gc") == "0 orphans, 0 bytes\n"


def test_retry_where_nothing_failed_says_how_to_run_the_rest(plan: Plan) -> None:
    nothing = "nothing has failed or was stopped; 5 have not run yet: snakemake --cores all\n"
    assert run("retry") == nothing
    second = Path("config/second.yaml")
    second.write_text(Path("config/config.yaml").read_text())
    known.remember(read_plan(second))
    assert run("retry") == (
        f"{nothing}this is of config/config.yaml; there are also results of config/second.yaml: "
        "name another config by --configfile\n"
    )


@pytest.mark.parametrize("words", [[], ["--failed"]])
def test_retry_shows_what_it_would_do(plan: Plan, words: list[str]) -> None:
    write(job(plan, WANDA, "prune").log, "MemoryError: no more\n")
    text = run("retry", *words, "--dry-run", "--cores", "3", "--", "--quiet")
    assert f"stopped: {WANDA} ppl_tiny: prune {WANDA}: MemoryError: no more" in text
    assert f"would run snakemake results/evaluations/{WANDA}/ppl_tiny.json --cores 3 --quiet\n" in text
    assert "would delete" not in text


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [("acc", 0.3512, "35.1%"), ("perplexity", 32.314, "32.31"), ("perplexity", 161793779.6, "1.6e8")],
)
def test_numbers(metric: str, value: float, shown: str) -> None:
    assert metrics.metric(metric).text(value) == shown
