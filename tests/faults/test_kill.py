"""A prune job that is killed loses nothing and ends with the same bits."""

import signal
from pathlib import Path

import pytest

from jobs import PruneJob, prune_job
from patches import KILL, replacing

pytestmark = pytest.mark.usefixtures("warm_python")

BLOCKS = 6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> PruneJob:
    job = prune_job(tmp_path_factory.mktemp("undisturbed"), blocks=BLOCKS)
    job.run()
    return job


IN_MERGE = ("prunebench.storage.checkpoints", "_copy", "lambda entry, out: (out.write(b'half'), out.flush(), die())")


def in_block(number: int) -> tuple[str, str, str]:
    by = f"lambda self, block, *rest: die() if block == {number} else before(self, block, *rest)"
    return "prunebench.storage.finished_blocks:Scratch", "save", by


def kill(job: PruneJob, how: tuple[str, str, str]) -> None:
    """Run the job with something replaced (patches.replacing) by what kills it."""
    process = job.start(KILL + replacing(*how))
    log = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, log


def assert_as_undisturbed(job: PruneJob, undisturbed: PruneJob) -> None:
    assert job.weights.read_bytes() == undisturbed.weights.read_bytes()
    assert job.result["blocks"] == undisturbed.result["blocks"]
    assert sorted(path.name for path in job.weights.parent.iterdir()) == [
        "measured.json", "prune.json", "weights.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("block", [0, 1, BLOCKS - 1])
def test_killed_inside_a_block_it_resumes_there(block: int, undisturbed: PruneJob, tmp_path: Path) -> None:
    job = prune_job(tmp_path, blocks=BLOCKS)
    kill(job, in_block(block))
    assert len(list(job.scratch.glob("block_*.safetensors"))) == block
    assert not job.weights.exists()
    log = job.run()
    assert (f"resuming at block {block}" in log) == (block > 0)
    assert_as_undisturbed(job, undisturbed)


def test_killed_while_the_weights_are_written(undisturbed: PruneJob, tmp_path: Path) -> None:
    job = prune_job(tmp_path, blocks=BLOCKS)
    kill(job, IN_MERGE)
    assert not job.weights.exists()
    assert f"resuming at block {BLOCKS}" in job.run()
    assert_as_undisturbed(job, undisturbed)


def test_blocks_of_another_model_are_not_resumed(undisturbed: PruneJob, tmp_path: Path) -> None:
    """The spec names a local model by its path: other weights there are another job."""
    job = prune_job(tmp_path, blocks=BLOCKS, seed=1)
    kill(job, in_block(2))
    job = prune_job(tmp_path, blocks=BLOCKS)
    assert "resuming" not in job.run()
    assert_as_undisturbed(job, undisturbed)


def test_the_same_command_twice_gives_the_same_bits(undisturbed: PruneJob) -> None:
    files = [undisturbed.weights, undisturbed.weights.with_name("prune.json")]
    before = [file.read_bytes() for file in files]
    undisturbed.run()
    assert [file.read_bytes() for file in files] == before


def test_half_of_a_finished_block_is_pruned_again(undisturbed: PruneJob, tmp_path: Path) -> None:
    """A power cut or a full disk leaves such a block."""
    job = prune_job(tmp_path, blocks=BLOCKS)
    kill(job, IN_MERGE)
    blocks = sorted(job.scratch.glob("block_*.safetensors"))
    assert len(blocks) == BLOCKS
    blocks[2].write_bytes(blocks[2].read_bytes()[:100])
    blocks[-1].write_bytes(b"")
    log = job.run()
    assert "resuming at block 2" in log and f"{blocks[-1].name} is damaged" in log
    assert_as_undisturbed(job, undisturbed)
