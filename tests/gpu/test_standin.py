"""The stand-in accelerator refuses what CUDA refuses and counts its memory, and the engine minds both."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import masking_utils
from typer.testing import CliRunner

import standin
import tiny
from prunebench.cli import app
from prunebench.engine import products, statistics
from prunebench.engine.activations import embed
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.gradients import calibration_gradients
from prunebench.engine.loop import prune_model
from prunebench.engine.loss import window_losses
from prunebench.engine.placement import device as placement
from prunebench.engine.placement.choice import CHOICE
from prunebench.engine.placement.spill import Spill
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import SiteStatistic
from prunebench.errors import PrunebenchError
from prunebench.formulas import obs
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.methods.wanda import Wanda
from prunebench.patterns import Pattern
from prunebench.registry import load
from prunebench.runtime import provenance
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import TensorStore

FIRST, SECOND = f"{standin.NAME}:0", f"{standin.NAME}:1"
X, INDICES = torch.arange(12.0).view(3, 4) - 5, torch.tensor([2, 0])

REFUSED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "add": lambda x, y: x + y,
    "matmul": lambda x, y: x @ y.T,
    "cat": lambda x, y: torch.cat([x, y]),
    "stack": lambda x, y: torch.stack([x, y]),
    "where": lambda x, y: torch.where(x > 0, x, y),
    "in place": lambda x, y: y.add_(x),
    "in place, a number": lambda x, y: y.sum().add_(x.sum()),
    "out": lambda x, y: torch.mm(x, x.T, out=y.new_empty(3, 3)),
    "linear": lambda x, y: functional.linear(x, y),
    "cross entropy": lambda x, y: functional.cross_entropy(x, y.argmax(1)),
    "embedding": lambda x, y: functional.embedding(y.argmax(0) - 1, x),
    "embedding of a number": lambda x, y: functional.embedding(y.argmin(), x),
    "index_select": lambda x, y: x.index_select(1, y.argmax(1)),
    "gather": lambda x, y: x.gather(1, y.argmax(1, keepdim=True)),
    "assigned values": lambda x, y: x.index_put_((x.argmin(1),), y),
    "masked_scatter": lambda x, y: x.masked_scatter(x > 0, y),
    "addcmul": lambda x, y: x.addcmul(y, y),
    "equal": lambda x, y: torch.equal(x, y),
    "solve_triangular": lambda x, y: torch.linalg.solve_triangular(x[:, :3], y, upper=True),
}


@pytest.mark.parametrize("other", ["cpu", SECOND])
@pytest.mark.parametrize("name", REFUSED)
def test_tensors_of_two_devices_are_refused(name: str, other: str) -> None:
    with pytest.raises(RuntimeError, match=r"same device|two devices"):
        REFUSED[name](X.to(FIRST), X.to(other))
    REFUSED[name](X.to(SECOND), X.to(SECOND))


TAKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "a number": lambda x: x * torch.tensor(2.0),
    "a number of another type": lambda x: x + torch.tensor(2),
    "indices": lambda x: x[INDICES],
    "indices to write": lambda x: x.clone().index_put_((INDICES,), x[INDICES.to(x.device)] * 3),
    "a filled mask": lambda x: x.masked_fill(x > 0, torch.tensor(7.0)),
    "a copy": lambda x: torch.zeros_like(x).copy_(X),
    "a slice that is written": lambda x: x.clone().index_fill_(0, INDICES.to(x.device), 1)[1:],
    "views": lambda x: x.T.reshape(2, 6)[:, 1:].unsqueeze(1).expand(2, 3, 5).transpose(0, 2),
    "a view of a view": lambda x: x[1:].T[2:].unbind()[1],
    "a view that is written": lambda x: x.clone().view(-1)[2:5].zero_(),
    "another dtype": lambda x: x.to(torch.bfloat16).view(torch.int16),
    "rows in order": lambda x: x.sort(1, descending=True).values.cumsum(0),
    "kthvalue": lambda x: x.kthvalue(2, dim=1).values,
    "nonzero": lambda x: x.nonzero(),
    "softmax": lambda x: x.softmax(-1),
    "attention": lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
    "eigenvalues": lambda x: torch.linalg.eigvalsh((x @ x.T).double()),
    "cholesky": lambda x: torch.linalg.cholesky_ex(x @ x.T + 90 * torch.eye(3, device=x.device)).L,
    "out": lambda x: torch.mm(x, x.T, out=x.new_empty(0)),
    "resized": lambda x: x.new_empty(0).resize_(2, 2).fill_(1),
    "made": lambda x: torch.arange(4, device=x.device) + torch.tensor([1, 2, 3, 4], device=x.device),
    "full": lambda x: torch.full((2, 2), 3.0, device=x.device, dtype=torch.float16).to("cpu").to(x.device),
    "the gradient": lambda x: torch.autograd.grad((y := x.clone().requires_grad_()).square().sum(), y)[0],
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "a layer": lambda x: functional.layer_norm(functional.linear(x, x), (3,)),
}


@pytest.mark.parametrize("place", [FIRST, SECOND])
@pytest.mark.parametrize("name", TAKEN)
def test_results_are_on_the_device_and_those_of_the_cpu(name: str, place: str) -> None:
    result = TAKEN[name](X.to(place))
    assert str(result.device) == place
    torch.testing.assert_close(result.cpu(), TAKEN[name](X.clone()))
    with pytest.raises(TypeError, match="to numpy"):
        result.numpy()


def test_torch_finds_it_only_while_it_is_present() -> None:
    assert torch.accelerator.current_accelerator(check_available=True) == torch.device(standin.NAME)
    standin.module.available = False
    assert torch.accelerator.current_accelerator(check_available=True) is None
    assert placement.best_device() == torch.device("cpu")


def test_memory_is_counted_until_the_last_view_is_gone() -> None:
    with standin.present(memory=1000) as device:
        before, elsewhere = device.memory_allocated(FIRST), device.memory_allocated(SECOND)
        kept = torch.zeros(100, device=FIRST)
        row = kept.view(10, 10)[3]
        assert device.memory_allocated(FIRST) == before + 400 and device.memory_allocated(SECOND) == elsewhere
        with pytest.raises(torch.OutOfMemoryError, match="tried to allocate 800 bytes, 600 of"):
            torch.zeros(100, dtype=torch.float64, device=FIRST)
        del kept
        assert device.mem_get_info(FIRST)[0] == 600
        del row
        gc.collect()
        assert device.memory_allocated(FIRST) == before and device.max_memory_allocated(FIRST) >= before + 400


def test_random_numbers_are_its_own() -> None:
    torch.manual_seed(3)
    cpu, first = torch.rand(5), torch.rand(5, device=FIRST).cpu()
    torch.manual_seed(3)
    assert torch.equal(torch.rand(5), cpu) and torch.equal(torch.rand(5, device=FIRST).cpu(), first)
    assert not torch.equal(first, cpu), "a result must not depend on the generator of the CPU"
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(5, device=FIRST, generator=torch.Generator())


@pytest.mark.parametrize(
    ("choice", "expected"),
    [(None, standin.NAME), ("", standin.NAME), ("auto", standin.NAME), ("cpu", "cpu"), (SECOND, SECOND)],
)
def test_the_device_is_the_one_that_is_named(
    choice: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CHOICE, raising=False)
    if choice is not None:
        monkeypatch.setenv(CHOICE, choice)
    assert str(placement.best_device()) == expected


@pytest.mark.parametrize("choice", ["tpu", "cuda", "mps", "xpu:0", "standin:2", "standin:x", "cpu:1", "meta", ":"])
def test_a_device_that_is_not_there_is_one_line(choice: str) -> None:
    with pytest.raises(PrunebenchError, match=f"sees none .*: name auto or one of cpu, {FIRST}") as error:
        placement.best_device(choice)
    assert repr(choice) in str(error.value) and "\n" not in str(error.value)


def test_a_device_without_float64_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_float64", lambda device: False)
    assert placement.best_device() == torch.device("cpu")
    with pytest.raises(PrunebenchError, match="no float64"):
        placement.best_device(standin.NAME)


def test_a_device_that_is_full_before_the_job_starts_is_one_line() -> None:
    with standin.present(memory=0), pytest.raises(PrunebenchError, match=r"cannot be used .*OutOfMemoryError"):
        placement.best_device()


def test_hidden_states_move_to_the_host_when_the_device_is_full(tmp_path: Path) -> None:
    directory, windows = tiny.make_model(tmp_path, blocks=1), tiny.tokens(48, 32)
    states = windows.numel() * 32 * 4
    places, losses, peaks = [], [], []
    for memory in (1 << 30, 3 * states):
        with standin.present(memory) as device:
            places.append({str(states.device) for states in embed(tiny.open_model(directory), windows, 4).hidden})
            gc.collect()
            device.reset_peak_memory_stats(FIRST)
            before = device.memory_allocated(FIRST)
            losses.append(window_losses(tiny.open_model(directory), windows, 4))
            peaks.append(device.max_memory_allocated(FIRST) - before)
    assert places == [{FIRST}, {"cpu"}]
    assert losses[0] == losses[1]
    assert peaks[1] < peaks[0] - states / 2, "the hidden states took memory of the device"


class Calls(TorchDispatchMode):
    """Counts the calls of an operation, or of all that make no view."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self._name, self.count = name, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view if self._name is None else str(func.overloadpacket) == self._name
        return func(*args, **(kwargs or {}))


class Waits(TorchDispatchMode):
    """Counts how often the host reads a number of the device, and waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += _on_the_device(args) and not _on_the_device(result)
        return result


def _on_the_device(values: Any) -> bool:
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    return any(tensor.device.type == standin.NAME for tensor in tensors)


@pytest.mark.parametrize("work", ["perplexity", "pruning"])
def test_the_host_waits_no_more_often_for_more_windows(
    work: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # This function of transformers waits in each call of the model.
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda positions: None)
    directory, waits = tiny.make_model(tmp_path / "model", blocks=2), []
    family = load("models", "llama")
    for count in (4, 12):
        windows = tiny.tokens(count, 16)
        with Waits() as counted:
            model = tiny.open_model(directory)
            if work == "perplexity":
                window_losses(model, windows, 2)
            else:
                allocation = dict.fromkeys(linear_sizes(directory, family), 0.5)
                scratch = Scratch(tmp_path / str(count), TensorStore(directory, torch.bfloat16))
                prune_model(model, Wanda(), allocation, Pattern(), windows, scratch, batch_size=2)
        waits.append(counted.count)
    assert waits[0] == waits[1] > 0


def test_the_host_waits_no_more_often_for_a_larger_factor() -> None:
    waits = []
    for width in (obs.SMALL, 4 * obs.SMALL):
        x = torch.randn(width + 10, width, dtype=torch.float64)
        hessian = (x.T @ x).to(FIRST)
        with Waits() as counted:
            obs.inverse_factor(hessian, 0.01)
        waits.append(counted.count)
    assert waits[0] == waits[1] > 0


def test_variables_of_a_block_are_on_the_device_while_it_has_room(tmp_path: Path) -> None:
    with standin.present(memory=4000):
        spill = Spill(tmp_path, torch.device(standin.NAME), resident=1)
        places = [str(spill.empty(10, width, torch.float32).device) for width in (20, 30)]
        assert places == [FIRST, "cpu"]


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_of_16_bits_are_summed_in_float32(
    dtype: torch.dtype, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device(standin.NAME)
    assert placement.sums_in_float32(device, dtype) and not placement.sums_in_float32(torch.device("cpu"), dtype)
    if not kernel:  # a device that lacks it
        monkeypatch.setattr(products, "sums_in_float32", lambda device, dtype: False)
    a, b = torch.randn(30, 900).to(dtype), torch.randn(900, 20).to(dtype)
    result = products.product(a.to(device), b.to(device), dtype)
    assert result.dtype == torch.float32 and result.device.type == standin.NAME
    torch.testing.assert_close(result.cpu().double(), a.double() @ b.double(), rtol=1e-5, atol=1e-4)


def test_a_model_that_one_device_has_no_room_for_is_spread_over_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, tokens = tiny.make_model(tmp_path), tiny.tokens(3, 20)
    expected = calibration_gradients(tiny.open_model(directory), tokens)
    logits = tiny.open_model(directory).whole()(tokens.to(FIRST)).logits
    block = sum(out * width for out, width in linear_sizes(directory, load("models", "llama")).values()) // 2
    rooms = [(torch.device(FIRST), 9 * block), (torch.device(SECOND), float("inf"))]
    monkeypatch.setattr("prunebench.engine.model.cards", lambda device: rooms)
    measured = calibration_gradients(tiny.open_model(directory), tokens)
    assert all(torch.equal(measured[linear], expected[linear]) for linear in expected)
    rooms[0] = torch.device(FIRST), 5 * block
    whole = tiny.open_model(directory).whole()
    assert {str(parameter.device) for parameter in whole.parameters()} == {FIRST, SECOND}
    assert torch.equal(whole(tokens.to(FIRST)).logits, logits)


def test_cards_are_all_devices_unless_one_is_named() -> None:
    with standin.present(memory=1000):
        assert [str(card) for card, _ in placement.cards(torch.device(standin.NAME))] == [FIRST, SECOND]
        ((card, room),) = placement.cards(torch.device(SECOND))
        assert str(card) == SECOND and room == 900


def test_the_record_of_a_job_names_the_device_and_its_peak() -> None:
    with standin.present(memory=64 << 20):
        torch.zeros(8 << 20, dtype=torch.uint8, device=SECOND)
        record = provenance._device()
    assert record["device"] == "stand-in" and "cuda" not in record
    assert 8 <= record["peak_gpu_memory_mb"] <= 9 and 64 <= record["gpu_memory_mb"] <= 65


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_the_command_line_prunes_and_measures_on_the_device(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHOICE, "")  # the command sets it
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))
    tiny.make_model(tmp_path / "model")
    np.save(tmp_path / "tokens.npy", tiny.tokens(6, 16).numpy())
    compute = ["--dtype", "float32", "--threads", "1", "--batch-size", "2", "--json"]

    def call(*words: object) -> dict[str, object]:
        run = CliRunner().invoke(app, [str(word) for word in (*words, *compute)])
        assert run.exit_code == 0, run.output
        said: dict[str, object] = json.loads(run.stdout)
        return said

    scores = {}
    for place in ("cpu", SECOND):
        out, before = tmp_path / place, standin.module.max_memory_allocated(SECOND)
        options = ["--sparsity", "0.5", "--method", method, "--calibration", tmp_path / "tokens.npy"]
        call("prune", tmp_path / "model", "--out", out, *options, "--device", place)
        scores[place] = json.dumps(call("ppl", out, "--tokens", tmp_path / "tokens.npy", "--device", place))
        assert (standin.module.max_memory_allocated(SECOND) > before) == (place == SECOND), "it ran elsewhere"
    values = [json.loads(text)["value"] for text in scores.values()]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_squares_of_all_rows_are_summed_at_once_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    x, sums = torch.randn(1000, 64), []
    for squares, parts in ((statistics.SQUARES, 1), (1 << 14, 4)):
        monkeypatch.setattr(statistics, "SQUARES", squares)
        statistic = SiteStatistic()
        with Calls("aten.sum") as calls:
            statistic.add(x.to(FIRST), {Stat.SITE_NORM})
        assert calls.count == parts
        sums.append(statistic.squared_norm.cpu())
    for total in sums:
        torch.testing.assert_close(total, x.double().square().sum(dim=0), rtol=1e-13, atol=0)
    assert statistics.rows_at_a_time(64, torch.device("cpu")) == statistics.ROWS, "bits of the CPU depend on it"


def in_strips(gone: torch.Tensor) -> Any:
    """A selector that returns one strip of 128 rows of the mask `gone` after the other."""
    strips = iter(gone.split(128))
    return lambda *_: next(strips)


def test_an_elimination_has_fewer_operations_than_columns() -> None:
    width, outputs = 256, 30
    x = torch.randn(300, width).double()
    U, gone = obs.inverse_factor(x.T @ x, 0.01), torch.rand(width, outputs) < 0.5
    start, ends, calls = torch.randn(width, outputs).double(), [], []
    for place in ("cpu", FIRST):
        weight, factor = start.clone().to(place), U.to(place)
        with Calls() as counted:
            ends.append(obs.eliminate(weight, factor, 128, in_strips(gone.to(place))))
        calls.append(counted.count)
    assert calls[1] < width < calls[0]
    for host, device in zip(*ends, strict=True):
        torch.testing.assert_close(device.cpu(), host, rtol=1e-12, atol=1e-12 * float(host.abs().max()))


@pytest.mark.parametrize("outputs", [64, 3072])
def test_sparsegpt_needs_two_matrices_of_the_inputs_and_two_of_the_outputs(outputs: int) -> None:
    width = 1024
    with standin.present() as device:
        weight = torch.randn(outputs, width).to(FIRST, torch.bfloat16)
        before = device.memory_allocated(FIRST)

        def statistic() -> SiteStatistic:
            made = SiteStatistic()
            made.add(torch.randn(64, width).to(FIRST), {Stat.HESSIAN})
            device.reset_peak_memory_stats(FIRST)
            return made

        SparseGPT().prune_site({"linear": weight}, statistic(), {"linear": 0.5}, Pattern())
        inputs, sweep = 8 * width**2, 8 * width * outputs
        # While the Hessian is there, its factor is inverted in the place of a copy, with a quarter of memory for a half
        # of the recursion. During the sweep only the inverse is there, masks are bytes, and each output has a system.
        systems = 8 * min(obs.SYSTEMS, outputs * obs.LEAF**2)
        most = max(2.6 * inputs, 1.1 * inputs + 2.4 * sweep + systems)
        assert device.max_memory_allocated(FIRST) - before < most
