"""Gradients of the loss: against autograd window by window, against finite differences, and on their way into cells."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from contract.test_methods import prune
from jobs import prune_job
from oracles import gradients as oracle
from oracles import masks, scores
from prunebench.engine import model as engine
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.block import BlockView
from prunebench.engine.gradients import calibration_gradients
from prunebench.engine.loop import prune_model
from prunebench.engine.model import StreamedModel
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure, PluginMistake, PrunebenchError
from prunebench.formulas import scores as ours
from prunebench.formulas.rows import rows_of
from prunebench.methods.pruner_zero import PrunerZero
from prunebench.methods.ria import RIA
from prunebench.methods.wanda import Wanda
from prunebench.patterns import UNSTRUCTURED
from prunebench.plan import paths
from prunebench.registry import load
from prunebench.results.current import Results
from prunebench.storage import checkpoints
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import TensorStore

TOKENS = (3, 12)


def linears(model: StreamedModel) -> list[str]:
    return [model.family.full_name(block, name) for block in range(model.blocks) for name in model.family.linears()]


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_they_are_those_of_autograd_window_by_window(name: str, tmp_path: Path) -> None:
    """This holds also for OPT, whose config has dropout, which must be off."""
    directory = tiny.make_model(tmp_path, name)
    tokens = tiny.tokens(*TOKENS)
    model = tiny.open_model(directory, name)
    names = linears(model)
    measured = calibration_gradients(model, tokens)
    assert list(measured) == names
    plain = tiny.reference(directory)
    parts = tiny.fused_rows(directory)
    stored = list(dict.fromkeys(parts[name][0] if name in parts else name for name in names))
    squares: dict[str, Any] = dict.fromkeys(stored, 0.0)
    for window in tokens.to(tiny.DEVICE).split(1):
        weights = [plain.get_parameter(f"{linear}.weight") for linear in stored]
        slopes = torch.autograd.grad(plain(window, labels=window).loss, weights)
        squares = {name: squares[name] + slope.double() ** 2 for name, slope in zip(stored, slopes, strict=True)}
    for linear in names:
        total = rows_of(squares[parts[linear][0]], parts[linear][1]) if linear in parts else squares[linear]
        expected = total.sqrt().cpu()
        assert measured[linear].dtype == torch.float32 and measured[linear].shape == expected.shape
        scale = expected.max().item()
        assert scale > 0
        torch.testing.assert_close(measured[linear].double(), expected, rtol=1e-4, atol=1e-5 * scale)


# LLaMA's norms are in float32 whatever the dtype, which a small step would show; OPT's ReLU has a kink.
@pytest.mark.parametrize(("name", "step"), [("llama", 1e-2), ("opt", 1e-5)])
def test_they_are_finite_differences_of_the_loss(name: str, step: float, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path, name, blocks=1)
    tokens = tiny.tokens(*TOKENS)
    model = tiny.open_model(directory, name, torch.float64)
    names = linears(model)
    measured = calibration_gradients(model, tokens)
    plain = tiny.reference(directory, torch.float64).cpu()

    def loss_on(window: torch.Tensor) -> Callable[[], float]:
        def loss() -> float:
            with torch.no_grad():
                logits = plain(window[None]).logits[0]
            return oracle.next_token_loss(logits.numpy(), window.tolist())

        return loss

    generator = np.random.default_rng(0)
    for linear in names:
        weight = plain.get_parameter(f"{linear}.weight").detach().numpy()
        scale = measured[linear].max().item()
        for _ in range(3):
            row, column = (int(generator.integers(size)) for size in weight.shape)
            slopes = [oracle.slope(loss_on(window), weight, (row, column), step) for window in tokens]
            expected = pytest.approx(oracle.root_of_squares(slopes), rel=5e-4, abs=1e-4 * scale)
            assert measured[linear][row, column].item() == expected, (linear, row, column)


def test_more_windows_add_squares(tmp_path: Path) -> None:
    directory, tokens = tiny.make_model(tmp_path), tiny.tokens(*TOKENS)
    whole = calibration_gradients(tiny.open_model(directory), tokens)
    parts = [calibration_gradients(tiny.open_model(directory), part) for part in (tokens[:1], tokens[1:])]
    for linear, measured in whole.items():
        torch.testing.assert_close(measured, sum(part[linear] ** 2 for part in parts).sqrt(), rtol=1e-5, atol=0)


def test_the_same_windows_give_the_same_bits(tmp_path: Path) -> None:
    directory, tokens = tiny.make_model(tmp_path), tiny.tokens(4, 40)
    first, second = (calibration_gradients(tiny.open_model(directory, dtype=torch.bfloat16), tokens) for _ in range(2))
    assert all(torch.equal(first[linear], second[linear]) for linear in first)


def test_a_model_that_one_gpu_has_no_room_for_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, tokens = tiny.make_model(tmp_path), tiny.tokens(*TOKENS)
    expected = calibration_gradients(tiny.open_model(directory), tokens)
    block = sum(out * width for out, width in linear_sizes(directory, load("models", "llama")).values()) // 2
    # Room for the first block in float32 (and its norms) by itself, but not with sums beside it.
    monkeypatch.setattr(engine, "cards", lambda device: [(device, 6 * block), (device, float("inf"))])
    spread, whole = [], StreamedModel.whole
    monkeypatch.setattr(StreamedModel, "whole", lambda *args, **more: spread.append(whole(*args, **more)) or spread[-1])
    measured = calibration_gradients(tiny.open_model(directory), tokens)
    assert len(spread[0].hf_device_map) > 1, "it was not spread"
    assert all(torch.equal(measured[linear], expected[linear]) for linear in expected)


def test_windows_longer_than_the_context_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError, match="sequences of 65 tokens are longer than the model's context of 64"):
        calibration_gradients(tiny.open_model(tiny.make_model(tmp_path)), tiny.tokens(1, 65))


@pytest.mark.parametrize("pattern", ["unstructured", "2of4"])
@pytest.mark.parametrize("name", ["llama", "opt"])
def test_masks_of_pruner_zero_are_the_oracles(name: str, pattern: str, tmp_path: Path) -> None:
    """This holds for all blocks, because gradients belong to the dense model, whatever was pruned before."""
    directory = tiny.make_model(tmp_path / "model", name)
    pruned, _ = prune((name, directory), PrunerZero(), pattern, 0.5, tmp_path / "scratch", torch.float32)
    dense = TensorStore(directory)
    measured = calibration_gradients(tiny.open_model(directory, name), tiny.tokens(6, 16))
    for linear, gradient in measured.items():
        weight = dense[f"{linear}.weight"].double().numpy()
        score = scores.pruner_zero(weight, gradient.double().numpy())
        gone = masks.row_mask(score, "0.50") if pattern == "unstructured" else masks.group_mask(score, 2, 4)
        assert np.array_equal(pruned[f"{linear}.weight"].double().numpy(), np.where(gone, 0.0, weight)), linear


def test_a_formula_without_gradients_needs_none_and_may_be_that_of_wanda(tmp_path: Path) -> None:
    model = "llama", tiny.make_model(tmp_path / "model")
    method = PrunerZero(PrunerZero.configure(overrides={"expression": "mul(abs(W), X)"}))
    assert PrunerZero().needs_gradients and not method.needs_gradients
    pruned, records = prune(model, method, "unstructured", 0.5, tmp_path / "ours")
    wanda, others = prune(model, Wanda(), "unstructured", 0.5, tmp_path / "wanda")
    assert all(torch.equal(pruned[name], wanda[name]) for name in wanda)
    assert records == others, "reconstruction errors are recorded as well"


@pytest.mark.parametrize("expression", ["div(W, sub(W, W))", "div(W, sub(G, G))"])
def test_a_formula_that_has_no_value_fails_the_cell(expression: str, tmp_path: Path) -> None:
    model = "llama", tiny.make_model(tmp_path / "model")
    method = PrunerZero(PrunerZero.configure(overrides={"expression": expression}))
    with pytest.raises(CellFailure, match=r"layers\.0\.self_attn\.q_proj: div\(.* is NaN or infinite for some weights"):
        prune(model, method, "unstructured", 0.5, tmp_path / "scratch")


def test_without_its_file_a_method_that_reads_gradients_is_told_so(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    model = tiny.open_model(directory)
    with model.block(0) as module:
        view = BlockView(module, 0, None, model=model)
        with pytest.raises(PluginMistake, match=r"without declaring Stat\.GRADIENT"):
            view.gradient("mlp.up_proj")


def test_gradients_alone_collect_nothing_and_give_a_whole_run(tmp_path: Path) -> None:
    """A method that needs nothing but gradients: no forward pass for statistics, so no reconstruction errors."""

    class GradientOnly(PrunerZero):
        needs = frozenset({Stat.GRADIENT})

        def _scores(self, block: Any, statistics: Any, site: Any, linear: str) -> torch.Tensor:
            with pytest.raises(PluginMistake, match="without declaring"):
                _ = statistics[site.name].squared_norm
            return block.gradient(linear).double()

    directory = tiny.make_model(tmp_path / "model")
    measured = calibration_gradients(tiny.open_model(directory), tiny.tokens(6, 16))
    work = Scratch(tmp_path / "scratch", TensorStore(directory, torch.bfloat16))
    records = prune_model(
        tiny.open_model(directory),
        GradientOnly(),
        dict.fromkeys(measured, 0.5),
        UNSTRUCTURED,
        tiny.tokens(6, 16),
        work,
        batch_size=4,
        gradients=measured,
    )
    counted = [linear for record in records for linear in record["linears"].values()]
    assert all(linear["zeros"] == linear["weights"] / 2 and "reconstruction_error" not in linear for linear in counted)


def test_a_cell_names_the_gradients_that_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = prune_job(tmp_path, method="pruner_zero")
    job.run()
    file = tmp_path / paths.GRADIENTS.format(**job.cell.wildcards)
    facts = checkpoints.facts(file)
    assert facts["tokens"] == job.result["inputs"]["tokens"]
    assert facts["seal"] == job.result["inputs"]["gradients"]
    assert (tmp_path / paths.GRADIENTS_MEASURED.format(**job.cell.wildcards)).exists()
    monkeypatch.chdir(tmp_path)
    assert Results(job.plan).prune(job.cell)["status"] == "ok"
    checkpoints.save(file, {"another": torch.ones(1)}, spec_hash=facts["spec_hash"])
    measured = Results(job.plan).prune(job.cell)
    assert measured["status"] == "missing"
    assert measured["reason"].startswith("on disk from another gradients: run snakemake again")


def test_gradients_that_are_made_again_have_the_same_digest(tmp_path: Path) -> None:
    def digest(root: Path, **options: Any) -> str:
        job = prune_job(root, method="pruner_zero", **options)
        return checkpoints.digest(root / paths.GRADIENTS.format(**job.cell.wildcards)) or ""

    same, again, other = (digest(tmp_path, seed=run // 2) for run in range(3))
    assert same == again != other


def test_gradients_that_are_not_finite_fail_the_cell(tmp_path: Path) -> None:
    """A pass that overflows leaves such gradients. The reason names the linear."""
    job = prune_job(tmp_path, method="pruner_zero")
    file = tmp_path / paths.GRADIENTS.format(**job.cell.wildcards)
    stored = load_file(file)
    stored["model.layers.1.mlp.up_proj"][2, 3] = torch.inf
    checkpoints.save(file, stored, spec_hash=checkpoints.facts(file)["spec_hash"])
    job.run()
    assert job.result["status"] == "failed"
    assert job.result["reason"].startswith("block 1: the gradients of model.layers.1.mlp.up_proj are NaN or infinite")
    assert load_file(job.weights) == {}


def test_a_model_with_a_bad_weight_has_no_finite_gradients_and_the_stage_still_writes_them(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path)
    stored = load_file(directory / "model.safetensors")
    stored["model.layers.0.mlp.up_proj.weight"][3, 5] = torch.nan
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    measured = calibration_gradients(tiny.open_model(directory), tiny.tokens(*TOKENS))
    assert measured["model.layers.1.mlp.down_proj"].isnan().any()


def test_ria_counts_a_row_or_column_of_zeros_as_nothing() -> None:
    weight = torch.tensor([[0.0, 0, 0], [0, 2, -6], [0, 1, 1]], dtype=torch.float64)
    norms = torch.tensor([1.0, 4, 16], dtype=torch.float64)
    # Row sums 0, 8, 2; column sums 0, 3, 7; square roots of the norms: 1, 2, 4 squared are the squared norms.
    expected = [[0, 0, 0], [0, (2 / 8 + 2 / 3) * 2, (6 / 8 + 6 / 7) * 4], [0, (1 / 2 + 1 / 3) * 2, (1 / 2 + 1 / 7) * 4]]
    torch.testing.assert_close(ours.ria(weight, norms, 1.0), torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(ours.ria(weight, norms, 0.0), ours.ria(weight, torch.ones(3), 1.0))


def test_ria_as_released_takes_one_weight_too_many_of_the_matrix(tmp_path: Path) -> None:
    model = "llama", tiny.make_model(tmp_path / "model", blocks=1)
    released = RIA(RIA.configure("released"))
    _, records = prune(model, released, "unstructured", 0.5, tmp_path / "scratch")
    assert not released.exact and RIA().exact
    for linear in records[0]["linears"].values():
        assert linear["zeros"] >= linear["weights"] // 2 + 1
    structured = [prune(model, RIA(RIA.configure(of)), "2of4", 0.5, tmp_path / of)[0] for of in ("paper", "released")]
    assert all(torch.equal(structured[0][name], structured[1][name]) for name in structured[0])
