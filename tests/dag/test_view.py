"""Tests of what `prunebench` shows of a real run and of its failures. The causes of the failures are real too."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from test_failures import REASON, rows
from tree import STUDY, Tree

import warm
from patches import replacing
from prunebench.view import logs

WANDA = "tiny/wanda/uniform/unstructured-s0.50/text_4x16-seed0"
BROKEN = "broken/magnitude/uniform/unstructured-s0.50/none-seed0"
PRUNEBENCH = "from prunebench.cli import app; app()"
FREEZE = "lambda self, block, *rest: os.kill(os.getpid(), signal.SIGSTOP) if block else before(self, block, *rest)"


def prunebench(tree: Tree, *words: str) -> str:
    run = tree.python(PRUNEBENCH, *words, "--configfile", STUDY)
    assert run.returncode == 0, run.stdout
    return run.stdout


def statuses(tree: Tree) -> dict[str, str]:
    """The status of each cell."""
    found = map(json.loads, prunebench(tree, "status", "--json").splitlines())
    return {state["cell"]: state["status"] for state in found}


@contextmanager
def frozen(tree: Tree) -> Iterator[None]:
    """The prune job of WANDA, stopped by a signal after its first block; then killed."""
    log = tree.root / f"logs/prune/{WANDA}.log"
    _, _, _, program, *words = shlex.split(log.read_text().splitlines()[0])
    (tree.root / f"results/pruned/{WANDA}/prune.json").unlink()
    freeze = replacing("prunebench.storage.finished_blocks:Scratch", "save", FREEZE)
    code = (
        f"import os, signal, runpy, sys\nprint(os.getpid(), flush=True)\n{freeze}\nsys.argv = {[program, *words]!r}\n"
    )
    code += "runpy.run_module('prunebench.stages', run_name='__main__', alter_sys=True)"
    environment = {**os.environ, "PYTHONPATH": str(tree.root / "workflow")}
    command = [warm.python(), "-c", code]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=tree.root, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdout
    job = int(process.stdout.readline())
    try:
        while "block 1 of 2" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(job, signal.SIGKILL)
        process.communicate()


JOBS = """
import json
from prunebench.plan import graph
from prunebench.plan.plan import read_plan
from pathlib import Path
jobs = graph.jobs(read_plan(Path(sys.argv[1])))
print(json.dumps([[str(file) for file in (*job.outputs, job.log)] for job in jobs]))
print(json.dumps([str(job.benchmark) for job in jobs]))
"""


def test_the_jobs_of_a_plan_are_those_of_snakemake(tree: Tree) -> None:
    for made in ("results", "resources", "logs", "benchmarks"):
        shutil.rmtree(tree.root / made)
    run = tree.snakemake("strict", "--dry-run")
    assert run.returncode == 0, run.stdout

    def printed(what: str) -> set[str]:
        return {file for files in re.findall(rf"^    {what}: (.*)$", run.stdout, re.M) for file in files.split(", ")}

    files, benchmarks = map(json.loads, tree.python(JOBS, STUDY).stdout.splitlines())
    assert {file for of in files for file in of} == printed("output") | printed("log")
    assert printed("benchmark") and printed("benchmark") <= set(benchmarks)


def test_status_of_a_finished_study(finished: Tree) -> None:
    text = prunebench(finished, "status")
    assert "tiny: 4 of 5 done, 1 failed" in text
    values = {row["method"] + row["pattern"]: float(row["value"]) for row in rows(finished) if row["value"]}
    assert len(values) == 4
    assert all(f"{value:.2f}" in text for value in values.values())
    assert f"failed {REASON}\n  {BROKEN} ppl_tiny\n  log: logs/prune/{BROKEN}.log\n" in text


def test_results_load_as_a_tidy_frame(finished: Tree) -> None:
    code = (
        "import sys, prunebench\nframe = prunebench.load_results(sys.argv[1], sys.argv[2], *sys.argv[3:])\n"
        "print({name: str(kind) for name, kind in frame.dtypes.items()}['value'], frame.to_json(orient='records'))"
    )
    run = finished.python(code, str(finished.root), STUDY)
    kind, _, content = run.stdout.partition(" ")
    assert (run.returncode, kind) == (0, "float64"), run.stdout
    loaded, written = json.loads(content), rows(finished)
    assert [row["spec_hash"] for row in loaded] == [row["spec_hash"] for row in written]
    values = [float(row["value"]) if row["value"] else None for row in written]
    assert [row["value"] for row in loaded] == pytest.approx(values)
    assert {row["sparsity"] for row in loaded} == {float(row["sparsity"]) for row in written}
    code = "import prunebench\nframe = prunebench.load_results()\nprint(frame.attrs, set(frame.status))"
    run = finished.python(code)
    assert "{'configfile': 'config/config.yaml'} {'missing'}" in run.stdout
    assert f"there are also results of {STUDY}: name another config by 'configfile'" in run.stdout
    for words in (("status",), ("show", "wanda/nothing")):
        run = finished.python(PRUNEBENCH, *words)
        assert f"this is of config/config.yaml; there are also results of {STUDY}" in run.stdout
    code = "import sys, prunebench\nprunebench.load_results(*sys.argv[1:])"
    run = finished.python(code, str(finished.root), STUDY, "tny")
    assert "no study 'tny' in" in run.stdout and "did you mean 'tiny'?" in run.stdout and "'configfile'" in run.stdout


def planned(tree: Tree) -> dict[str, Any]:
    """The answer of `plan` on the rest of the study."""
    found: dict[str, Any] = json.loads(prunebench(tree, "plan", "--json", "--device", "cpu"))
    return {"done": found["jobs_done"], **{rule: work["jobs"] for rule, work in found["rules"].items()}}


def test_plan_knows_what_is_done(tree: Tree) -> None:
    everything = planned(tree)
    assert everything.keys() == {"done"}, "nothing is left"
    assert "0 jobs left" in prunebench(tree, "plan") and "In all about 0 s, one job at a time" in prunebench(
        tree, "plan"
    )
    (tree.root / f"results/evaluations/{WANDA}/ppl_tiny.json").unlink()
    left = planned(tree)
    ends = {"collect", "tables", "figures", "report"}
    assert left["evaluate"] == 1 and left.keys() == {"done", "evaluate", *ends}
    assert sum(left.values()) == everything["done"]
    tree.edit(STUDY, "rounding: nearest", "rounding: down")
    again = planned(tree)
    assert again["prune"] >= 1 and again["evaluate"] >= again["prune"], "other parameters make cells again"


def test_export_takes_the_short_names_of_show(finished: Tree, tmp_path: Path) -> None:
    def export(name: str, out: str) -> Any:
        return finished.python(PRUNEBENCH, "export", name, str(tmp_path / out))

    assert export("wanda/0.50", "one").returncode == 0, "no config is needed"
    assert json.loads((tmp_path / "one/prunebench.json").read_text())["cell"] == WANDA
    assert export(f"logs/prune/{WANDA}.log", "two").returncode == 0
    several = export("tiny", "three")
    assert several.returncode == 1 and "'tiny' fits several cells, give more of one:" in several.stdout
    assert "no finished cell 'wnada': the nearest are" in export("wnada", "four").stdout


def test_show_of_a_finished_cell(finished: Tree) -> None:
    text = prunebench(finished, "show", WANDA)
    record = json.loads((finished.root / f"results/pruned/{WANDA}/prune.json").read_text())
    measured = json.loads((finished.root / f"results/pruned/{WANDA}/measured.json").read_text())
    value = next(float(row["value"]) for row in rows(finished) if row["method"] == "wanda")
    assert f"text perplexity {value:.2f}" in text
    assert f"{record['achieved_sparsity']:.4f} (target 0.5000)" in text
    assert "reconstruction error" in text and "block 1" in text
    assert measured["host"] in text and measured["versions"]["torch"] in text
    assert "all 2 blocks" in text and "0.500" in text
    assert (finished.root / f"logs/evaluate/{WANDA}/ppl_tiny.log").read_text().splitlines()[0] in text


def test_show_answers_why_a_cell_failed(finished: Tree) -> None:
    text = prunebench(finished, "show", BROKEN)
    assert REASON.split()[1] in text, "the tensor; the rest may stand on another line"
    log = f"logs/prune/{BROKEN}.log"
    assert f"end of {log}:" in text
    assert (finished.root / log).read_text().splitlines()[0] in text
    assert f"snakemake results/pruned/{BROKEN}/prune.json --cores all --force --configfile {STUDY}" in text


def test_a_skipped_cell_has_its_reason(tree: Tree) -> None:
    tree.edit(STUDY, "pattern: 2of4}", "pattern: 2of4, allocator: owl}")
    assert statuses(tree)["tiny/wanda/owl/2of4/text_4x16-seed0"] == "skipped"
    reason = "2of4 fixes the sparsity of every linear, owl has nothing to decide"
    assert f"skipped {reason}" in prunebench(tree, "status")
    assert "nothing to decide" in prunebench(tree, "show", "wanda/owl")


def test_what_was_made_under_other_settings_is_missing(tree: Tree) -> None:
    tree.edit(STUDY, "rounding: nearest", "rounding: down")
    found = statuses(tree)
    assert [found[cell] for cell in (WANDA, BROKEN)] == ["missing", "failed"]
    assert "missing on disk from other settings or code" in prunebench(tree, "status")
    # Numbers of the older result are not shown.
    assert "target 0.5000" not in prunebench(tree, "show", WANDA)


def test_a_model_that_changed_after_it_was_fetched_leaves_no_result_valid(tree: Tree) -> None:
    asset = tree.root / "resources/models/tiny/asset.json"
    asset.write_text(asset.read_text().replace('"bytes": ', '"bytes": 1'))
    assert statuses(tree) == {cell: "failed" if cell == BROKEN else "missing" for cell in statuses(tree)}
    assert "missing on disk from another model" in prunebench(tree, "status")


def test_a_running_job_is_seen_with_its_progress_and_a_killed_one_has_stopped(tree: Tree) -> None:
    (tree.root / f"results/evaluations/{WANDA}/ppl_tiny.json").unlink()
    with frozen(tree):
        assert statuses(tree)[WANDA] == "running"
        text = prunebench(tree, "status")
        assert "1/2" in text
        assert "running block 1 of 2 done after" in text
        assert f"running: prune {WANDA}" in text
        refused = tree.python(PRUNEBENCH, "retry", "--failed", "--configfile", STUDY)
        assert refused.returncode == 1 and f"still running: prune {WANDA}" in refused.stdout
    assert statuses(tree)[WANDA] == "stopped"
    assert "stopped" in prunebench(tree, "show", WANDA)


def test_watch_looks_until_it_is_interrupted(finished: Tree) -> None:
    # Only to a terminal, or what rich takes for one, is anything printed before the end.
    environment = {**os.environ, "PYTHONPATH": str(finished.root / "workflow"), "FORCE_COLOR": "1"}
    command = [warm.python(), "-c", PRUNEBENCH, "status", "--watch", "--configfile", STUDY]
    with subprocess.Popen(
        command, cwd=finished.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout and "tiny" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[1].strip() == "interrupted"
        finally:
            process.kill()
    assert process.returncode == 130


def test_retry_runs_stopped_jobs_again_and_makes_the_tables(tree: Tree) -> None:
    tree.stop_jobs("prune")
    assert tree.snakemake().returncode != 0
    assert statuses(tree)[WANDA] == "stopped"
    tree.mend_jobs("prune")
    text = prunebench(tree, "retry")
    assert statuses(tree)[WANDA] == "ok"
    assert "4 of 5 cells (1 failed)." in text


def test_retry_prunes_failed_cells_again(tree: Tree) -> None:
    names = (f"pruned/{BROKEN}/prune.json", f"evaluations/{BROKEN}/ppl_tiny.json")
    files = [tree.root / "results" / name for name in names]
    other = tree.root / f"results/pruned/{WANDA}/prune.json"
    before = [file.stat().st_mtime_ns for file in (*files, other)]
    dry = prunebench(tree, "retry", "--dry-run")
    assert all(f"would delete {file.relative_to(tree.root)}" in dry for file in files)
    assert [file.stat().st_mtime_ns for file in (*files, other)] == before
    prunebench(tree, "retry")
    after = [file.stat().st_mtime_ns for file in (*files, other)]
    assert after[0] > before[0] and after[1] > before[1] and after[2] == before[2]
    assert statuses(tree)[BROKEN] == "failed"
    assert tree.planned() == set()


def test_collect_makes_tables_of_what_is_there_without_running_anything(tree: Tree) -> None:
    table = tree.root / "results/of/tiny/tables/tiny/perplexity.md"
    (tree.root / f"results/evaluations/{WANDA}/ppl_tiny.json").unlink()
    text = prunebench(tree, "collect", "tiny")
    assert "3 of 5 cells (1 failed, 1 missing)." in text
    assert table.read_text() in text
    assert {row["status"] for row in rows(tree)} == {"ok", "failed", "missing"}
    assert not (tree.root / f"results/evaluations/{WANDA}/ppl_tiny.json").exists()
    assert logs.command(tree.root / f"logs/prune/{WANDA}.log")
