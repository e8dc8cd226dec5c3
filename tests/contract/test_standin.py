"""The stand-in accelerator: it refuses what CUDA refuses, and models that run on it give the numbers of the CPU.

These are a few cases for every run. `make test-device` runs all tests of engine, methods, allocators, searches and
evaluations on it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import standin
import tiny
from contract.test_methods import prune
from prunebench.engine.activations import embed
from prunebench.engine.gradients import calibration_gradients
from prunebench.engine.placement.device import best_device, cards, roomy_device
from prunebench.errors import PrunebenchError
from prunebench.registry import load

MEBI = 1 << 20


@pytest.fixture(autouse=True)
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tiny, "DEVICE", standin.NAME)
    with standin.present(64 * MEBI):
        yield


@pytest.mark.parametrize("other", ["cpu", "standin:1"])
def test_it_refuses_tensors_of_another_device(other: str) -> None:
    here, there = torch.ones(3, device="standin:0"), torch.ones(3, device=other)
    for operation in (torch.add, torch.dot, torch.equal, torch.maximum):
        with pytest.raises(RuntimeError, match="found at least two devices"):
            operation(here, there)
    with pytest.raises(RuntimeError, match="found at least two devices"):
        here += there
    assert (here + there.to("standin:0")).cpu().tolist() == [2, 2, 2]
    assert here.device == torch.device("standin:0") == (here * 2)[:1].device


def test_a_number_may_stay_on_the_host() -> None:
    here = torch.ones(3, device="standin")
    assert (here * torch.tensor(2.0)).cpu().tolist() == [2, 2, 2]


def test_its_memory_is_counted_and_limited() -> None:
    before = standin.module.memory_allocated()
    held = torch.empty(4 * MEBI, device="standin")
    assert standin.module.memory_allocated() - before == 16 * MEBI
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(16 * MEBI, device="standin")
    del held
    assert standin.module.memory_allocated() == before


def test_hidden_states_move_to_the_host_when_the_device_is_full(tmp_path: Path) -> None:
    device = torch.device("standin:0")
    assert roomy_device(device, 8 * MEBI) == device
    assert roomy_device(device, 17 * MEBI) == torch.device("cpu")
    directory, tokens = tiny.make_model(tmp_path, blocks=1), tiny.tokens(128, 32)
    roomy = embed(tiny.open_model(directory), tokens, batch_size=2)
    with standin.present(3 * sum(states.nbytes for states in roomy.hidden)):
        full = embed(tiny.open_model(directory), tokens, batch_size=2)
    assert {state.device.type for state in roomy.hidden} == {standin.NAME}
    assert {state.device.type for state in full.hidden} == {"cpu"}
    assert all(torch.equal(a.cpu(), b) for a, b in zip(roomy.hidden, full.hidden, strict=True))


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_a_whole_run_gives_the_weights_of_the_cpu(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = "llama", tiny.make_model(tmp_path / "model", blocks=1)
    there, _ = prune(model, load("methods", method)(), "unstructured", 0.5, tmp_path / "there", torch.float32)
    monkeypatch.setattr(tiny, "DEVICE", "cpu")
    here, _ = prune(model, load("methods", method)(), "unstructured", 0.5, tmp_path / "here", torch.float32)
    assert here.keys() == there.keys()
    for name in here:
        torch.testing.assert_close(there[name], here[name], rtol=1e-2, atol=1e-4)


def test_a_model_that_is_too_large_for_one_device_is_spread_over_two(tmp_path: Path) -> None:
    directory, tokens = tiny.make_model(tmp_path, blocks=4, hidden_size=128, intermediate_size=512), tiny.tokens(2, 8)
    whole = calibration_gradients(tiny.open_model(directory), tokens)
    tensors = tiny.open_model(directory).tensors
    weights = sum(tensor.numel() for name, tensor in tensors.items() if ".layers." in name)
    with standin.present(6 * weights):  # three quarters of the weights and their gradients, in float32
        assert len(cards(best_device("standin"))) == 2
        spread = calibration_gradients(tiny.open_model(directory, device=torch.device("standin")), tokens)
        assert standin.module.max_memory_allocated(1) > 0
    assert whole.keys() == spread.keys()
    assert all(torch.equal(spread[name], whole[name]) for name in whole)


def test_the_device_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_device("cpu").type == "cpu"
    assert best_device("standin:1") == torch.device("standin:1")
    assert best_device().type == standin.NAME, "an accelerator that is there is used"
    monkeypatch.setenv("PRUNEBENCH_DEVICE", "cpu")
    assert best_device().type == "cpu"
    for absent in ("standin:2", "cuda:9", "nonsense", "meta", "standin:x"):
        with pytest.raises(PrunebenchError, match=r"sees none of this name here: name auto or one of cpu, standin:0"):
            best_device(absent)
