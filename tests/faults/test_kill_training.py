"""A training job that is killed loses a few steps and ends with the same bits."""

import json
import signal
from pathlib import Path

import pytest

from patches import KILL, replacing
from trained import TrainJob, train_job

pytestmark = pytest.mark.usefixtures("warm_python")


How = tuple[str, str, str]
WHILE_SAVING = ("prunebench.training.loop:torch", "save", "lambda state, path: (path.write_bytes(b'half'), die())")
WHILE_EXPORTING = ("transformers:OPTForCausalLM", "save_pretrained", "lambda self, path: (before(self, path), die())")
WHILE_SCORING = ("prunebench.training.scores:Scorer", "score", "die")


def in_step(number: int) -> How:
    by = f"lambda self, *rest: die() if self.step == {number} else before(self, *rest)"
    return "prunebench.training.loop:Training", "_update", by


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    job = train_job(tmp_path_factory.mktemp("undisturbed"))
    job.run()
    return job


def kill(job: TrainJob, how: How) -> None:
    """Run the job with something replaced (patches.replacing) by what kills it."""
    process = job.start(KILL + replacing(*how))
    log = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, log
    assert not job.record.exists()


def without_paths(job: TrainJob) -> dict[str, bytes]:
    """The files of `job` without its spec and its seal: local corpora have other paths in other places."""
    made = job.made()
    record = json.loads(made.pop("mini.json"))
    record.pop("spec")
    record.pop("spec_hash")
    record.pop("seal")
    return {**made, "record": json.dumps(record).encode()}


@pytest.mark.parametrize(
    ("how", "resumed"),
    [
        (in_step(0), 0),
        (in_step(30), 30),
        (WHILE_EXPORTING, 60),
        (WHILE_SCORING, 60),
    ],
    ids=["in the first step", "in a step", "while the model is written", "while it is scored"],
)
def test_killed_anywhere_it_goes_on_to_the_same_bits(
    how: How, resumed: int, undisturbed: TrainJob, tmp_path: Path
) -> None:
    job = train_job(tmp_path)
    kill(job, how)
    assert (f"resuming at step {resumed}" in job.run()) == (resumed > 0)
    assert without_paths(job) == without_paths(undisturbed)
    assert not job.scratch.exists()


def test_killed_while_its_state_is_written_it_has_the_state_before(undisturbed: TrainJob, tmp_path: Path) -> None:
    job = train_job(tmp_path)
    kill(job, in_step(27))
    kill(job, WHILE_SAVING)
    assert "resuming at step 27" in job.run()
    assert without_paths(job) == without_paths(undisturbed)


def test_the_same_command_twice_gives_the_same_bits(undisturbed: TrainJob) -> None:
    before = undisturbed.made()
    undisturbed.run()
    assert undisturbed.made() == before


def test_the_state_of_other_settings_is_not_resumed(undisturbed: TrainJob, tmp_path: Path) -> None:
    job = train_job(tmp_path, learning_rate=0.001)
    kill(job, in_step(30))
    job = train_job(tmp_path)
    assert "resuming" not in job.run()
    assert without_paths(job) == without_paths(undisturbed)


def test_another_seed_is_another_model(undisturbed: TrainJob, tmp_path: Path) -> None:
    job = train_job(tmp_path, seed=1)
    job.run()
    assert job.made()["model.safetensors"] != undisturbed.made()["model.safetensors"]
