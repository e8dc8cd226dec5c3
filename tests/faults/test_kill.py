"""A prune job that is killed loses nothing and ends with the same bits."""

import signal
import time
from pathlib import Path

import pytest

from jobs import PruneJob, prune_job

BLOCKS = 6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> PruneJob:
    job = prune_job(tmp_path_factory.mktemp("undisturbed"), blocks=BLOCKS, calibration="text_64x16")
    job.run()
    return job


def kill_inside_block(job: PruneJob, block: int) -> None:
    """SIGKILL the job as soon as block `block` - 1 is finished."""
    process = job.start()
    last = job.scratch / f"block_{block - 1:03d}.safetensors"
    while process.poll() is None and not last.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the job was over before it could be killed"


@pytest.mark.parametrize("block", [1, 3, BLOCKS - 1])
def test_killed_inside_a_block_it_resumes_there(block: int, undisturbed: PruneJob, tmp_path: Path) -> None:
    job = prune_job(tmp_path, blocks=BLOCKS, calibration="text_64x16")
    kill_inside_block(job, block)
    finished = len(list(job.scratch.glob("block_*.safetensors")))
    assert block <= finished < BLOCKS
    assert not job.weights.exists()
    log = job.run()
    assert f"resuming at block {finished}" in log
    assert job.weights.read_bytes() == undisturbed.weights.read_bytes()
    assert job.result["blocks"] == undisturbed.result["blocks"]
    assert not job.scratch.exists()


def test_the_same_command_twice_gives_the_same_bits(undisturbed: PruneJob) -> None:
    files = [undisturbed.weights, undisturbed.weights.with_name("prune.json")]
    before = [file.read_bytes() for file in files]
    undisturbed.run()
    assert [file.read_bytes() for file in files] == before
