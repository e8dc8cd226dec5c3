"""The pipeline through a real SLURM, and what schedulers do to jobs: in the end the results are those of a quiet run.

All runs go on at once, since each mostly waits: for the scheduler, for Snakemake to look again, for a time limit.
"""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import tiny
from cluster import slurm
from cluster.slurm import Slurm
from dag.tree import Tree
from prunebench.plan import paths
from prunebench.plan.jobs import log_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STUDY = "cluster.yaml"
CELL = {"model": "tiny", "method": "wanda", "allocator": "owl", "point": "unstructured-s0.50"}
CELL |= {"calibration": "text_4x16", "seed": "0"}
PRUNED, WEIGHTS, LOG = (pattern.format(**CELL) for pattern in (paths.PRUNED, paths.WEIGHTS, log_of("prune")))
# What a job does where it would take a GPU: wait as long as there is a file `hold`.
HOLD = """
    while Path("hold").exists():
        time.sleep(0.1)
    devices = []
"""
# What a prune does after each block: wait for as long as there is a file `stop`, take 3 GB if there is one `eat`.
STOP = """
        import time
        from prunebench.storage.finished_blocks import Scratch

        save = Scratch.save

        def save_and_stop(*arguments):
            save(*arguments)
            while Path("stop").exists():
                time.sleep(0.1)
            eaten = bytearray(b"x") * (3000 << 20 if Path("eat").exists() else 0)
            time.sleep(100 if eaten else 0)

        Scratch.save = save_and_stop
"""
PATIENCE = 600
"""Seconds until a run counts as hung."""
MEASURED = {"prune_seconds", "prune_cpu_seconds", "peak_memory_mb"}


@dataclass
class Run:
    """A snakemake whose jobs go through SLURM, in the directory of `tree`."""

    cluster: Slurm
    tree: Tree
    seen: list[dict[str, str]] = field(default_factory=list)
    """The scheduler's records while something was held."""

    def start(self, *arguments: str, retries: int = 0, gpus: int = 0, hooks: bool = False) -> subprocess.Popen[str]:
        """Start it with the project's profile; only what makes it look often and give up at once is another."""
        command = [sys.executable, "-m", "snakemake", *arguments, "--workflow-profile", "profiles/slurm"]
        command += ["--slurm-init-seconds-before-status-checks", "6", "--retries", str(retries), "--latency-wait", "20"]
        # No hooks: after a failure, they would make tables of what there is.
        command += [] if hooks else ["--no-hooks"]
        command += ["--resources", f"gpu={gpus}", "--configfile", STUDY]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHONPATH"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), self.cluster.environment["PATH"]])
        with (self.tree.root / "printed").open("a") as printed:
            process = subprocess.Popen(
                command,
                cwd=self.tree.root,
                env={**kept, "PATH": path, "HF_HUB_OFFLINE": "1"},
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.cluster.users.append(process)
        return process

    def finish(self, *arguments: str) -> None:
        """A plain run, to its end, which must be good."""
        assert self.start(*arguments).wait(PATIENCE) == 0, self.printed

    @property
    def printed(self) -> str:
        """The output of all runs in this directory."""
        return (self.tree.root / "printed").read_text()

    @property
    def jobs(self) -> list[dict[str, str]]:
        """The scheduler's records of what was submitted from this directory, oldest first."""
        mine = [job for job in self.cluster.jobs() if job["WorkDir"] == str(self.tree.root)]
        return sorted(mine, key=lambda job: int(job["JobId"]))

    def wait(self, condition: Callable[[list[dict[str, str]]], Any]) -> list[dict[str, str]]:
        """The records, once `condition` holds for them."""
        end = time.monotonic() + PATIENCE
        while not condition(jobs := self.jobs):
            assert time.monotonic() < end, f"{jobs}\n{self.printed}"
            time.sleep(0.3)
        return jobs

    def stopped(self) -> str:
        """The id of this directory's only job, once it has pruned the first block of two."""
        scratch = (self.tree.root / WEIGHTS).parent / ".blocks"
        self.wait(lambda jobs: jobs and jobs[-1]["JobState"] == "RUNNING" and list(scratch.glob("block_*.safetensors")))
        return self.jobs[-1]["JobId"]

    def go(self) -> None:
        """Let all jobs go on."""
        for file in ("hold", "stop"):
            (self.tree.root / file).unlink(missing_ok=True)


def states(jobs: list[dict[str, str]]) -> list[str]:
    return [job["JobState"] for job in jobs]


def rule_of(job: dict[str, str]) -> str:
    found = re.match(r"rule_(\w+?)_wildcards_", job["Comment"])
    assert found
    return found[1]


def wanting_gpus(jobs: list[dict[str, str]]) -> list[dict[str, str]]:
    return [job for job in jobs if "TresPerJob" in job]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    if reason := slurm.missing():
        pytest.skip(reason)
    with slurm.running() as found:
        yield found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, cluster: Slurm) -> Tree:
    """The workflow with a tiny model and text, nothing computed."""
    tree = Tree.create(tmp_path_factory.mktemp("cluster") / "fresh")
    shutil.copy(Path(__file__).with_name("study.yaml"), tree.root / STUDY)
    tiny.make_model(tree.root / "assets/tiny")
    (tree.root / "assets/text.txt").write_text("\n".join(tiny.make_text(60)))
    tree.edit("workflow/prunebench/runtime/gpus.py", "    devices = range(gpus_here())\n", HOLD)
    taking = "            take_gpus(job.gpus)\n"
    tree.edit("workflow/prunebench/stages/__main__.py", taking, taking + STOP)
    return tree


@pytest.fixture(scope="module")
def local(fresh: Tree) -> Tree:
    """The study of `fresh`, computed without a scheduler; all weights are kept."""
    tree = fresh.copy(fresh.root.with_name("local"))
    run = tree.snakemake("--config", "keep_weights=packed", study=STUDY)
    assert run.returncode == 0, run.stdout
    return tree


@pytest.fixture(scope="module")
def runs(cluster: Slurm, fresh: Tree, request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[Run]"]]:
    """Each run by its name, with the event that happens to it."""

    def of(tree: Tree, happens: Callable[[Run], None]) -> Run:
        run = Run(cluster, tree)
        (tree.root / ("hold" if happens is _study else "stop")).touch()
        happens(run)
        return run

    disturbed = (_time_limit, _memory_limit, _cancelled, _retried, _requeued, _snakemake_killed)
    with ThreadPoolExecutor(len(disturbed) + 1) as pool:
        found = {"_study": pool.submit(of, fresh.copy(fresh.root.with_name("study")), _study)}
        local = request.getfixturevalue("local")  # which is made meanwhile
        for happens in disturbed:
            found[happens.__name__] = pool.submit(of, without_a_prune(local, happens.__name__), happens)
        yield found


def without_a_prune(local: Tree, name: str) -> Tree:
    """A copy of the local run in which one cell's prune is still to be done."""
    tree = local.copy(local.root.with_name(name))
    for file in (PRUNED, WEIGHTS, LOG):
        (tree.root / file).unlink()
    return tree


PRUNE = (PRUNED, "--config", "keep_weights=packed")


def _study(run: Run) -> None:
    """The whole study; three jobs want a GPU at once, of which there are two."""
    process = run.start(gpus=8)
    run.seen = run.wait(lambda jobs: sorted(states(wanting_gpus(jobs))) == ["PENDING", "RUNNING", "RUNNING"])
    run.go()
    assert process.wait(PATIENCE) == 0, run.printed


def _cancelled(run: Run) -> None:
    process = run.start(*PRUNE)
    run.cluster.call("scancel", run.stopped())
    assert process.wait(PATIENCE) != 0
    assert states(run.jobs) == ["CANCELLED"]
    run.go()
    run.finish(*PRUNE)


def _retried(run: Run) -> None:
    process = run.start(*PRUNE, retries=1)
    run.cluster.call("scancel", run.stopped())
    run.go()
    assert process.wait(PATIENCE) == 0, run.printed


def _requeued(run: Run) -> None:
    process = run.start(*PRUNE)
    run.cluster.call("scontrol", "requeue", run.stopped())
    run.wait(lambda jobs: jobs[0]["Restarts"] == "1")
    run.go()
    assert process.wait(PATIENCE) == 0, run.printed
    run.finish(*PRUNE)


def _time_limit(run: Run) -> None:
    process = run.start(*PRUNE, "--set-resources", "prune:runtime=1")
    assert process.wait(PATIENCE) != 0
    run.go()
    run.finish(*PRUNE)


def _memory_limit(run: Run) -> None:
    (run.tree.root / "eat").touch()
    process = run.start(*PRUNE, "--set-resources", "prune:mem_mb=3000")
    run.stopped()
    run.go()
    assert process.wait(PATIENCE) != 0
    (run.tree.root / "eat").unlink()
    run.finish(*PRUNE)


def _snakemake_killed(run: Run) -> None:
    process = run.start(*PRUNE)
    run.stopped()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    run.go()
    run.wait(lambda jobs: states(jobs) == ["COMPLETED"])
    run.finish("--unlock")
    run.finish(*PRUNE)


def cells(tree: Tree) -> list[dict[str, str]]:
    """The rows of cells.csv, without the columns of measurements."""
    with (tree.root / "results/of/cluster/cells.csv").open() as file:
        return [{key: value for key, value in row.items() if key not in MEASURED} for row in csv.DictReader(file)]


def assert_as_undisturbed(run: Run, local: Tree, *, resumed: bool | None = True) -> None:
    assert resumed is None or ("resuming at block 1" in (run.tree.root / LOG).read_text()) == resumed
    for file in (PRUNED, WEIGHTS):
        assert (run.tree.root / file).read_bytes() == (local.root / file).read_bytes(), file


def test_every_rule_that_computes_goes_through_the_scheduler(runs: dict[str, "Future[Run]"]) -> None:
    jobs = runs["_study"].result().jobs
    assert set(states(jobs)) == {"COMPLETED"}
    assert Counter(map(rule_of, jobs)) == {
        "calibrate": 1, "profile": 1, "gradients": 1, "allocate": 3, "prune": 3, "keep_masks": 3, "evaluate": 3,
    }  # fmt: skip


def test_jobs_ask_for_what_their_model_needs(runs: dict[str, "Future[Run]"]) -> None:
    for job in runs["_study"].result().jobs:
        rule = rule_of(job)
        computes = rule in ("profile", "gradients", "prune", "evaluate")
        assert job.get("TresPerJob") == ("gres:gpu:1" if computes else None), rule
        # A tiny model: what libraries take, and what SparseLLM may keep in memory, or a corpus takes.
        megabytes = 1500 + 2048 * (rule in ("prune", "allocate", "calibrate"))
        assert re.search(rf"\bmem={megabytes}M\b", job["TRES"]), (rule, job["TRES"])
        assert (job["TimeLimit"], job["NumCPUs"], job["Partition"]) == ("01:00:00", "1", "main")


def test_two_gpu_jobs_run_on_different_devices_while_a_third_waits(runs: dict[str, "Future[Run]"]) -> None:
    at_once = wanting_gpus(runs["_study"].result().seen)
    devices = [job["GRES"] for job in at_once if job["JobState"] == "RUNNING"]
    assert sorted(devices) == ["gpu:1(IDX:0)", "gpu:1(IDX:1)"]
    (waiting,) = (job for job in at_once if job["JobState"] == "PENDING")
    assert waiting["Reason"] in ("Resources", "Priority", "None")


def test_through_slurm_and_locally_the_cells_are_the_same(runs: dict[str, "Future[Run]"], local: Tree) -> None:
    through = cells(runs["_study"].result().tree)
    assert through == cells(local)
    assert {row["status"] for row in through} == {"ok"} and len(through) == 3


def test_scancel(runs: dict[str, "Future[Run]"], local: Tree) -> None:
    run = runs["_cancelled"].result()
    assert not wanting_gpus(run.jobs), "the limit was 0, as for a cluster without GPUs"
    assert states(run.jobs) == ["CANCELLED", "COMPLETED"]
    assert_as_undisturbed(run, local)


def test_a_retry_asks_for_more(runs: dict[str, "Future[Run]"], local: Tree) -> None:
    run = runs["_retried"].result()
    assert states(run.jobs) == ["CANCELLED", "COMPLETED"]
    assert [job["TimeLimit"] for job in run.jobs] == ["01:00:00", "02:00:00"]
    assert [job["MinMemoryNode"] for job in run.jobs] == ["3548M", "7096M"]
    assert_as_undisturbed(run, local)


def test_requeue(runs: dict[str, "Future[Run]"], local: Tree) -> None:
    run = runs["_requeued"].result()
    assert [(job["JobState"], job["Restarts"]) for job in run.jobs] == [("COMPLETED", "1")]
    assert "Nothing to be done" in run.printed
    assert_as_undisturbed(run, local)


def test_time_limit(runs: dict[str, "Future[Run]"], local: Tree) -> None:
    run = runs["_time_limit"].result()
    assert states(run.jobs) == ["TIMEOUT", "COMPLETED"]
    assert "TIMEOUT" in run.printed
    assert_as_undisturbed(run, local, resumed=None)  # a slow machine does not get far in a minute


def test_memory_limit(runs: dict[str, "Future[Run]"], local: Tree) -> None:
    run = runs["_memory_limit"].result()
    assert states(run.jobs)[0] in ("OUT_OF_MEMORY", "FAILED") and states(run.jobs)[1:] == ["COMPLETED"]
    assert "memory" in (run.cluster.root / "slurmd.log").read_text()
    assert_as_undisturbed(run, local)


def test_snakemake_is_killed(runs: dict[str, "Future[Run]"], local: Tree) -> None:
    assert_as_undisturbed(runs["_snakemake_killed"].result(), local, resumed=False)


def test_a_drained_node(runs: dict[str, "Future[Run]"], cluster: Slurm, local: Tree) -> None:
    for run in runs.values():
        run.exception()  # one node for all: when they are done
    mine = Run(cluster, without_a_prune(local, "drained"))
    cluster.call("scontrol", "update", f"nodename={slurm.NODE}", "state=drain", "reason=test")
    try:
        process = mine.start(*PRUNE)
        (job,) = mine.wait(lambda jobs: jobs and jobs[0]["Reason"] not in ("None", "Priority"))
        # SLURM names the node, or says that the nodes are DRAINED, by which of its two schedulers looked last.
        assert job["JobState"] == "PENDING" and (slurm.NODE in job["Reason"] or "DRAINED" in job["Reason"])
    finally:
        cluster.call("scontrol", "update", f"nodename={slurm.NODE}", "state=resume")
    assert process.wait(PATIENCE) == 0, mine.printed
    assert states(mine.jobs) == ["COMPLETED"]
    assert_as_undisturbed(mine, local, resumed=False)


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (["--default-resources", "slurm_partition=mian"], "SLURM has no partition 'mian': did you mean 'main'?"),
        (["--set-resources", "prune:gpu=3"], "prune asks for 3 GPUs on a node, partition 'main' has 2."),
        (["--set-resources", "prune:runtime=601"], "prune asks for 601 minutes, partition 'main' has 600."),
    ],
)
def test_a_mistake_is_told_before_any_job(
    mistake: list[str], expected: str, cluster: Slurm, fresh: Tree, tmp_path: Path
) -> None:
    run = Run(cluster, fresh.copy(tmp_path))
    assert run.start(*mistake, gpus=8, hooks=True).wait(PATIENCE) != 0
    assert expected in run.printed and "Traceback" not in run.printed
    assert not run.jobs and not (tmp_path / "results/calibration").exists()
