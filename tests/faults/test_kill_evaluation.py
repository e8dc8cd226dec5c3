"""A zero-shot evaluation that is killed keeps the tasks it has finished and ends with the same numbers."""

import json
import signal
from pathlib import Path

import pytest

from jobs import PruneJob, prune_job
from patches import KILL, replacing
from prunebench.plan import paths
from prunebench.stages.fetch_tasks import fetch_tasks
from zeroshot import READER, bundle, reading_tokenizer

pytestmark = pytest.mark.usefixtures("warm_python")

TASKS = ["arc_easy", "rte", "piqa"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> PruneJob:
    root = tmp_path_factory.mktemp("job")
    suites = {
        name: {"suite": "lm_eval", "params": {"data": "tiny", "tasks": TASKS, "limit": limit}}
        for name, limit in (("six", 6), ("all", None))
    }
    tasks = {"tiny": bundle(root / "assets/tasks", *TASKS)}
    made = prune_job(root, tokenizer=reading_tokenizer(), more={"suites": suites, "tasks": tasks}, **READER)
    fetch_tasks(made.plan.asset("tasks/tiny").spec, asset=root / paths.TASKS.format(tasks="tiny"))
    made.run()
    return made


def evaluate(job: PruneJob, suite: str) -> str:
    process = job.start_evaluation(suite)
    log = process.communicate()[1]
    assert process.returncode == 0, log
    return log


def kill_at(job: PruneJob, suite: str, task: str) -> Path:
    """Kill the job when it comes to `task`; where its pieces are."""
    dying = f"lambda self, name, compute: die() if name == {task!r} else before(self, name, compute)"
    process = job.start_evaluation(suite, KILL + replacing("prunebench.storage.resume:Parts", "get_or", dying))
    log = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, log
    assert not job.evaluation(suite).exists()
    return job.evaluation(suite).with_name(f".{suite}.parts")


def test_killed_between_tasks_it_resumes_at_the_next(job: PruneJob) -> None:
    log = evaluate(job, "six")
    undisturbed = job.evaluation("six").read_bytes()
    assert [score["task"] for score in json.loads(undisturbed)["scores"]] == ["arc_easy"] * 2 + ["rte"] + [
        "piqa"
    ] * 2 + ["mean"]
    assert "resuming" not in log and "%|" not in log, "no progress bars in a log"
    job.evaluation("six").unlink()
    parts = kill_at(job, "six", "piqa")
    assert {path.name for path in parts.glob("*.json")} == {"arc_easy.json", "rte.json"}
    log = evaluate(job, "six")
    assert "resuming: arc_easy is there" in log and "resuming: rte is there" in log and "piqa is there" not in log
    assert job.evaluation("six").read_bytes() == undisturbed
    assert not parts.exists()


def test_pieces_of_other_settings_are_not_resumed(job: PruneJob) -> None:
    job.evaluation("six").unlink(missing_ok=True)
    parts = kill_at(job, "six", "rte")
    parts.rename(parts.with_name(".all.parts"))
    assert "resuming" not in evaluate(job, "all")
