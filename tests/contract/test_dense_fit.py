"""DenseFit against direct solutions in float64, and its sums against plain transformers."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from oracles import dense_fit as oracle
from oracles.dense_fit import Array
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.drift import Drift, collect
from prunebench.engine.loop import prune_model
from prunebench.formulas import fit, obs
from prunebench.methods.dense_fit import DAMPINGS, STRENGTHS, TRIED_ROWS, UNTRIED, DenseFit
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.patterns import UNSTRUCTURED, parse_pattern
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.tensors import TensorStore

DAMPING = 0.1


def problem(out: int = 8, width: int = 16, tokens: int = 64, seed: int = 0) -> tuple[Array, Array, Array]:
    """W [out, in], inputs X [in, n] that depend on each other, and outputs Y [out, n] of other inputs."""
    random = np.random.default_rng(seed)
    W, X = random.normal(size=(out, width)), random.normal(size=(width, width)) @ random.normal(size=(width, tokens))
    return W, X, W @ (X + 0.3 * random.normal(size=X.shape)) + random.normal(size=(out, tokens))


def sums(W: Array, X: Array, Y: Array) -> Drift:
    gram, missing = torch.from_numpy(X @ X.T), torch.from_numpy((Y - W @ X) @ X.T)
    return Drift(gram, missing, True, X.shape[1])


def pruned(W: Array, drift: Drift, sparsity: float, pattern: Any = UNSTRUCTURED, steps: int = 0, **params: Any) -> Any:
    method = DenseFit(DenseFit.configure(overrides=params))
    weights = {"linear": torch.from_numpy(W)}
    return method.prune(weights, drift, {"linear": sparsity}, pattern, DAMPING, 1.0, steps)["linear"].weight.numpy()


def test_the_fit_solves_the_stacked_least_squares_problem() -> None:
    W, X, Y = problem()
    drift = sums(W, X, Y)
    V = torch.from_numpy(W) + fit.correction(drift.cross, obs.inverse_factor(drift.gram, DAMPING))
    np.testing.assert_allclose(V.numpy(), oracle.fitted(W, X, Y, oracle.penalty(X, DAMPING)), rtol=1e-9, atol=1e-10)


def test_the_error_is_that_of_the_outputs() -> None:
    W, X, Y = problem()
    drift = sums(W, X, Y)
    change = torch.from_numpy(np.random.default_rng(1).normal(size=W.shape))
    grown = np.sum(((W + change.numpy()) @ X - Y) ** 2) - np.sum((W @ X - Y) ** 2)
    assert fit.error(change, drift.gram, drift.cross) == pytest.approx(grown, rel=1e-10)


def test_conjugate_gradients_reach_least_squares_on_the_support_and_never_go_back() -> None:
    W, X, Y = problem()
    r = oracle.penalty(X, DAMPING)
    kept = np.random.default_rng(2).random(W.shape) < 0.5
    kept[0] = False  # a row without weights
    V = torch.from_numpy(oracle.fitted(W, X, Y, r))
    H = torch.from_numpy(X @ X.T + r * np.eye(len(X)))
    steps = [
        fit.on_support(V * torch.from_numpy(kept), V, H, torch.from_numpy(kept), count).numpy() for count in range(18)
    ]
    values = [oracle.objective(P, W, X, Y, r) for P in steps]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(values))
    np.testing.assert_allclose(steps[-1], oracle.on_support(W, X, Y, r, kept), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("pattern", ["unstructured", "2of4"])
def test_without_drift_it_is_sparsegpt(pattern: str) -> None:
    W, X, _ = problem(width=256, tokens=300)
    drift = sums(W, X, W @ X)
    solver = SparseGPT(SparseGPT.configure(overrides={"damping": DAMPING}))
    shape = parse_pattern(pattern)
    expected = solver.prune_site({"linear": torch.from_numpy(W)}, drift.statistic, {"linear": 0.5}, shape)
    drift.cross.zero_()  # the sum rounds
    np.testing.assert_array_equal(pruned(W, drift, 0.5, shape), expected["linear"].weight.numpy())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("solver", ["sparsegpt", "wanda"])
def test_no_mask_of_all_is_beaten_and_the_way_is_not_long(seed: int, solver: str) -> None:
    W, X, Y = problem(2, 6, 20, seed)
    r = oracle.penalty(X, DAMPING)
    least, dense = oracle.best_of_all_masks(W, X, Y, r, 6), oracle.objective(np.zeros_like(W), W, X, Y, r)
    P = pruned(W, sums(W, X, Y), 0.5, steps=12, solver=solver)
    reached = oracle.objective(P, W, X, Y, r)
    assert np.sum(P == 0) == 6
    assert least * (1 - 1e-6) <= reached < least + 0.5 * (dense - least)


@pytest.mark.parametrize("solver", ["sparsegpt", "wanda"])
def test_zeros_stay_and_count(solver: str) -> None:
    W, X, Y = problem()
    W[:, ::4] = 0
    P = pruned(W, sums(W, X, Y), 0.5, steps=5, solver=solver)
    assert np.sum(P == 0) == P.size // 2 and not P[:, ::4].any()


class TestChoice:
    """The damping and the strength that the held-out windows choose."""

    @staticmethod
    def choose(part: Drift, held_out: Drift, W: Array, sparsity: float = 0.0, **params: Any) -> tuple[float, float]:
        method = DenseFit(DenseFit.configure(overrides=params))
        return method._choose({"linear": torch.from_numpy(W)}, part, held_out, {"linear": sparsity}, UNSTRUCTURED)

    def test_a_drift_that_recurs_exactly_is_corrected_in_full(self) -> None:
        W, X, Y = problem(16)
        assert self.choose(sums(W, X, Y), sums(W, X, Y), W) == (min(DAMPINGS), max(STRENGTHS))

    def test_a_drift_that_does_not_recur_is_corrected_least(self) -> None:
        W, X, Y = problem(16)
        assert self.choose(sums(W, X, Y), sums(W, X, W @ X), W) == (max(DAMPINGS), min(STRENGTHS))

    def test_the_pair_is_the_best_of_all_pairs(self) -> None:
        W, X, Y = problem(64, seed=3)
        _, X_new, Y_new = problem(64, seed=4)
        Y_new = W @ X_new + 0.5 * (Y_new - problem(64, seed=4)[0] @ X_new)
        part, held_out = sums(W, X, Y), sums(W, X_new, Y_new)
        rows = W[::TRIED_ROWS]
        errors = {}
        for damping in DAMPINGS:
            r = oracle.penalty(X, damping)
            for strength in STRENGTHS:
                target = rows @ X + strength * (Y[::TRIED_ROWS] - rows @ X)
                V = torch.from_numpy(oracle.fitted(rows, X, target, r))
                solver = SparseGPT(SparseGPT.configure(overrides={"damping": damping}))
                P = solver.prune_site({"linear": V}, part.statistic, {"linear": 0.5}, UNSTRUCTURED)["linear"].weight
                errors[damping, strength] = np.sum((P.numpy() @ X_new - Y_new[::TRIED_ROWS]) ** 2)
        assert self.choose(part, held_out, W, 0.5) == min(errors, key=errors.__getitem__)

    def test_given_values_and_missing_windows(self) -> None:
        W, X, Y = problem()
        part = sums(W, X, Y)
        none = Drift(torch.zeros_like(part.gram), torch.zeros_like(part.cross), True)
        assert self.choose(part, none, W) == UNTRIED
        assert self.choose(part, none, W, strength=0.0) == (UNTRIED[0], 0.0)
        assert self.choose(part, part, W, damping=0.2, strength=0.5) == (0.2, 0.5)
        assert self.choose(part, part, W, damping=0.2)[0] == 0.2


class Recorder(Method):
    """Halves the last linear of each block, and records the sums of all sites."""

    name, title, dense_stream = "client", "Client", True
    uses = Method.uses - {"sparsity"} | {"calibration", "seed"}

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.options = options
        self.sums: list[dict[str, tuple[Drift, Drift]]] = []

    def prune_block(self, block: Any, *_: Any) -> BlockResult:
        down = block.ffn.down
        weights = {site.name: {name: block.weight(name) for name in site.linears} for site in block.sites}
        self.sums.append({site.name: collect(block, site, weights[site.name], **self.options) for site in block.sites})
        return BlockResult({down: PrunedLinear(block.weight(down) / 2)})


def recorded(directory: Path, name: str, scratch: Path, **options: Any) -> list[dict[str, tuple[Drift, Drift]]]:
    """The sums of the sites of each block for four and two windows of 16 tokens."""
    model, recorder = tiny.open_model(directory, name), Recorder(**options)
    work = Scratch(scratch, TensorStore(directory, torch.bfloat16))
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    prune_model(model, recorder, allocation, UNSTRUCTURED, tiny.tokens(6, 16), work, batch_size=4)
    return recorder.sums


def states(directory: Path, halved: bool) -> list[Mapping[str, torch.Tensor]]:
    """The values in each block of the plain model, whose first block has a halved down projection if `halved`."""
    model, seen = tiny.reference(directory), []
    if halved:
        model.model.layers[0].mlp.down_proj.weight.data /= 2
    for layer in model.model.layers:
        values: dict[str, torch.Tensor] = {}
        seen.append(values)
        layer.register_forward_pre_hook(lambda _, args, v=values: v.update(states=args[0].flatten(0, 1)))
        for name, linear in (
            ("q", layer.self_attn.q_proj),
            ("o", layer.self_attn.o_proj),
            ("down", layer.mlp.down_proj),
        ):
            linear.register_forward_hook(
                lambda _, args, out, v=values, n=name: v.update(
                    {f"{n}.in": args[0].flatten(0, 1), f"{n}.out": out.flatten(0, 1)}
                )
            )
    with torch.no_grad():
        model(tiny.tokens(6, 16).to(tiny.DEVICE))
    return seen


@pytest.mark.parametrize("weighted", [True, False])
def test_the_sums_are_those_of_two_plain_models(tmp_path: Path, weighted: bool) -> None:
    directory = tiny.make_model(tmp_path / "model")
    first, second = recorded(directory, "llama", tmp_path / "scratch", weighted=weighted)
    dense, damaged = states(directory, halved=False)[1], states(directory, halved=True)[1]
    weights = tiny.reference(directory).model.layers[1]
    moved = {name: dense[name].double() - damaged[name].double() for name in dense}
    between = dense["states"].double() + dense["o.out"].double()
    expected = {
        "attention_in": ("k_proj", "q.in", moved["q.in"] @ weights.self_attn.k_proj.weight.double().T, None),
        "attention_out": ("o_proj", "o.in", moved["o.out"] + moved["states"], between),
        "ffn_mid": (
            *("down_proj", "down.in", moved["down.out"] + moved["states"] + moved["o.out"]),
            between + dense["down.out"].double(),
        ),
    }
    held_out = slice(3 * 16, 4 * 16)
    for site, (linear, point, missing, behind) in expected.items():
        x = damaged[point].double()
        if weighted and behind is not None:
            root = behind.square().mean(dim=1, keepdim=True).sqrt()
            x, missing = x / root, missing / root
        module = getattr(weights.mlp if linear == "down_proj" else weights.self_attn, linear)
        for sums_of_site, rows in ((second[site][0] + second[site][1], slice(None)), (second[site][1], held_out)):
            result = sums_of_site.missing(module.weight.detach())
            torch.testing.assert_close(result, missing[rows].T @ x[rows], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(sums_of_site.gram.tril(), (x[rows].T @ x[rows]).tril(), rtol=1e-5, atol=1e-5)
            assert sums_of_site.tokens == len(x[rows])
    assert not any(part.cross.any() for parts in first.values() for part in parts)


@pytest.mark.parametrize(
    ("name", "adds"),
    [("llama", True), ("opt", True), ("gptj", True), ("gemma2", False), ("opt_350m", False), ("granite", False)],
)
def test_the_hidden_states_are_corrected_where_the_block_adds_to_them(name: str, adds: bool, tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", name)
    with_states, without = (
        recorded(directory, name, tmp_path / str(residual), residual=residual)[1]["ffn_mid"][0].cross
        for residual in (True, False)
    )
    assert torch.equal(with_states, without) != adds
