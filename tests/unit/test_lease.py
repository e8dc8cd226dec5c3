"""A GPU has one holder, and none is lost, whatever happens to the processes that hold them."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import prune_job
from prunebench.errors import PrunebenchError
from prunebench.runtime import gpus
from prunebench.runtime.gpus import held, take_gpus

BORROWER = Path(__file__).parent / "data/borrower.py"
WORKFLOW = Path(__file__).parents[2] / "workflow"
PROCESSES, LEASES, DEVICES, KILLS = 16, 50, (0, 1, 2), 40


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with two GPUs, and an environment in which nobody has chosen any."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    for name in (gpus.VISIBLE, *gpus.SCHEDULERS):
        # Set, then deleted: only so is what a lease writes there taken back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    yield tmp_path
    gpus._for_life.close()


def test_many_processes_and_random_kills(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def start(seed: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", str(BORROWER), str(tmp_path), str(tmp_path), str(seed), *map(str, DEVICES)]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(WORKFLOW)})

    source = random.Random(0)
    processes = {seed: start(seed) for seed in range(PROCESSES)}
    request.addfinalizer(lambda: [process.kill() for process in processes.values()])
    kills = 0
    while processes:
        time.sleep(0.03)
        if kills < KILLS:
            kills += 1
            processes[source.choice(list(processes))].send_signal(signal.SIGKILL)
        for seed, process in list(processes.items()):
            if process.poll() == 0:
                del processes[seed]
            elif process.returncode is not None:
                assert process.returncode == -signal.SIGKILL
                processes[seed] = start(seed)
    assert (tmp_path / "overlaps").read_text() == ""
    assert [len((tmp_path / f"finished-{seed}").read_text().split()) for seed in range(PROCESSES)] == [
        LEASES
    ] * PROCESSES
    with held(len(DEVICES), DEVICES, tmp_path) as taken:
        assert taken == DEVICES, "none is lost"


def test_each_lease_gets_another_device_and_a_third_waits(tmp_path: Path) -> None:
    order: list[str] = []

    def third() -> None:
        with held(1, (0, 1), tmp_path) as taken:
            order.append(f"third has {taken}")

    with held(1, (0, 1), tmp_path) as first:
        with held(1, (0, 1), tmp_path) as second:
            assert (first, second) == ((0,), (1,))
            waiting = threading.Thread(target=third)
            waiting.start()
            waiting.join(0.2)
            assert waiting.is_alive() and not order
            order.append("second is done")
        waiting.join()
    assert order == ["second is done", "third has (1,)"]


def test_two_that_want_two_of_three_do_not_wait_for_each_other(tmp_path: Path) -> None:
    done: list[int] = []

    def borrow() -> None:
        for _ in range(100):
            with held(2, DEVICES, tmp_path) as taken:
                assert len(set(taken)) == 2
                done.append(1)

    threads = [threading.Thread(target=borrow, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 200


def test_more_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError, match="wants 3 GPUs, the machine has 2: run it where there are more"):
        held(3, (0, 1), tmp_path).__enter__()


def test_the_lease_is_what_cuda_sees(machine: Path) -> None:
    assert take_gpus(1) == (0,)
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"]) == ("0", "PCI_BUS_ID")
    del os.environ["CUDA_VISIBLE_DEVICES"]
    assert take_gpus(1) == (1,), "the first is kept for as long as the process lives"


def test_several_gpus_for_one_job(machine: Path) -> None:
    assert take_gpus(2) == (0, 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize("decider", ["CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID"])
def test_nothing_is_taken_where_somebody_else_decides(
    decider: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(decider, "1")
    before = dict(os.environ)
    assert take_gpus(1) == ()
    assert dict(os.environ) == before
    assert not list(machine.glob("*.lock"))


def test_nothing_is_taken_on_a_machine_without_gpus(machine: Path) -> None:
    for device in machine.glob("nvidia[01]"):
        device.unlink()
    assert take_gpus(1) == ()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not list(machine.glob("*.lock"))


def test_jobs_ask_for_a_gpu_where_there_is_one_to_wait_for(machine: Path) -> None:
    assert gpus.gpus_per_job(elsewhere=False) == gpus.gpus_per_job(elsewhere=True) == 1
    for device in machine.glob("nvidia[01]"):
        device.unlink()
    assert gpus.gpus_per_job(elsewhere=False) == 0, "the limit of one would run jobs one by one"
    assert gpus.gpus_per_job(elsewhere=True) == 1, "a login node has none, those that it sends jobs to have"


def test_a_prune_job_waits_for_its_gpu_before_torch_is_loaded(machine: Path, tmp_path: Path) -> None:
    job = prune_job(tmp_path / "job", blocks=1)
    prelude = f"""
import os, pathlib, sys
from prunebench.runtime import gpus
gpus.DEVICES = gpus.LOCKS = pathlib.Path({str(machine)!r})
lock = gpus.lock
gpus.lock = lambda descriptor: print("torch loaded:", "torch" in sys.modules, file=sys.stderr) or lock(descriptor)
"""
    with held(1, (0, 1), machine), held(1, (0, 1), machine):
        process = job.start(prelude)
        assert process.stderr
        for line in process.stderr:
            if "waiting for a GPU: other jobs have 2 of 2" in line:
                break
        else:
            pytest.fail("the job did not wait")
        assert not job.weights.exists()
    log = process.communicate()[1]
    assert process.returncode == 0, log
    assert "on GPU 0" in log
    assert "torch loaded: False" in log and "torch loaded: True" not in log
