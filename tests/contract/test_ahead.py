"""Blocks that are read ahead of their use, as on an accelerator, are the blocks of the file, and errors surface."""

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
from prunebench.engine import model as engine
from prunebench.engine.ahead import Ahead, Named
from prunebench.engine.model import StreamedModel
from prunebench.engine.placement.device import own_memory, page_locked
from prunebench.errors import PrunebenchError


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reads block")]


@pytest.fixture(autouse=True)
def no_reading_is_left() -> Iterator[None]:
    """Wait at the end of each test for the block that a model still reads ahead: the next test must not see it."""
    yield
    for thread in reading_threads():
        thread.join(60)
    assert not reading_threads()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The (parameter, thread) of each reading, on a CPU that is taken for an accelerator."""
    monkeypatch.setattr(engine, "own_memory", lambda device: True)
    plain, seen = StreamedModel.stored, list[tuple[str, str]]()

    def stored(self: StreamedModel, name: str) -> Tensor:
        seen.append((name, threading.current_thread().name))
        return plain(self, name)

    monkeypatch.setattr(StreamedModel, "stored", stored)
    return seen


def block_of(model: StreamedModel, index: int) -> dict[str, Tensor]:
    with model.block(index) as block:
        return {name: parameter.detach().clone() for name, parameter in block.named_parameters()}


def readers(reads: list[tuple[str, str]], model: StreamedModel) -> list[set[bool]]:
    """For each block, whether it was read in the thread that needs it."""
    main = threading.current_thread().name
    prefixes = [f"{model.family.blocks}.{index}." for index in range(model.blocks)]
    return [{thread == main for name, thread in reads if name.startswith(prefix)} for prefix in prefixes]


def test_blocks_that_are_read_ahead_are_those_of_the_file(reads: list[tuple[str, str]], tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path, blocks=3))
    for order in ([0, 1, 2], [0, 2, 1, 0]):
        for index in order:
            weights = block_of(model, index)
            assert weights
            for name, weight in weights.items():
                assert torch.equal(weight, model.stored(f"{model.family.blocks}.{index}.{name}").float())


def test_a_thread_reads_all_blocks_but_the_first(reads: list[tuple[str, str]], tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path, blocks=3))
    for index in range(3):
        block_of(model, index)
    assert readers(reads, model) == [{True}, {False}, {False}]
    assert len(reads) == len(set(reads)), "a block was read twice"


def test_a_processor_reads_no_block_ahead(
    reads: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "own_memory", own_memory)
    model = tiny.open_model(tiny.make_model(tmp_path, blocks=2), device="cpu")
    for index in range(2):
        block_of(model, index)
    assert readers(reads, model) == [{True}, {True}]


def test_a_failed_reading_is_the_error_of_opening_its_block(
    reads: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path, blocks=3))
    plain = StreamedModel.stored

    def damaged(self: StreamedModel, name: str) -> Tensor:
        if ".1." in name:
            raise PrunebenchError(f"{name} is damaged")
        return plain(self, name)

    monkeypatch.setattr(StreamedModel, "stored", damaged)
    block_of(model, 0)
    with pytest.raises(PrunebenchError, match=r"\.1\..* is damaged"):
        block_of(model, 1)
    monkeypatch.setattr(StreamedModel, "stored", plain)
    assert block_of(model, 1), "the failure was kept"


def slow(count: int, read: list[int]) -> Named:
    for number in range(count):
        time.sleep(0.01)
        read.append(number)
        yield str(number), torch.zeros(1)


def test_a_failure_in_a_block_ends_the_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "own_memory", lambda device: True)
    model = tiny.open_model(tiny.make_model(tmp_path, blocks=2))
    read: list[int] = []
    plain = StreamedModel._read
    monkeypatch.setattr(
        StreamedModel, "_read", lambda *words: slow(10_000, read) if ".1." in words[2] else plain(*words)
    )
    with pytest.raises(ZeroDivisionError), model.block(0):
        time.sleep(0.05)
        raise ZeroDivisionError
    assert not reading_threads()
    assert 0 < len(read) < 10_000


def test_a_model_is_freed_with_the_block_that_it_reads_ahead(
    reads: list[tuple[str, str]], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path, blocks=2))
    held = weakref.ref(model)
    gc.collect()
    gc.disable()
    try:
        block_of(model, 0)
        del model
        end = time.monotonic() + 10
        while held() is not None and time.monotonic() < end:
            time.sleep(0.01)
        assert held() is None
    finally:
        gc.enable()
    assert "Exception ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("ending", ["sys.exit(3)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_process_that_ends_does_not_wait_for_a_block(ending: str) -> None:
    script = f"""
import os, signal, sys, time, weakref
import torch
from prunebench.engine.ahead import Ahead

class Owner: pass

def slow():
    for number in range(10_000):
        time.sleep(0.01)
        yield str(number), torch.zeros(1000).to(torch.bfloat16)

owner, ahead = Owner(), Ahead()
weakref.finalize(owner, ahead.stop)
ahead.begin(1, slow())
time.sleep(0.1)
{ending}
"""
    run = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (3 if "exit" in ending else -15, "")


def test_a_dropped_block_does_not_come_back() -> None:
    ahead, read = Ahead(), list[int]()
    ahead.begin(1, slow(10_000, read))
    ahead.begin(2, slow(3, read))
    assert ahead.take(1) is None
    assert sorted(ahead.take(2) or {}) == ["0", "1", "2"] and ahead.take(2) is None


def test_memory_is_locked_for_cuda_alone_and_only_if_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor, locked = torch.ones(2), torch.ones(2)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: locked)
    assert page_locked(tensor, torch.device("cuda")) is locked
    assert page_locked(tensor, torch.device("cpu")) is page_locked(tensor, torch.device("xpu")) is tensor

    def full(self: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Tensor, "pin_memory", full)
    assert page_locked(tensor, torch.device("cuda")) is tensor
