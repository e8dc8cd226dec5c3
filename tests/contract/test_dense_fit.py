"""DenseFit against direct solutions in float64, and its sums against plain transformers."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from oracles import dense_fit as oracle
from oracles.dense_fit import Array
from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.drift import Drift, collect
from prunebench.engine.loop import prune_model
from prunebench.errors import CellFailure
from prunebench.formulas import admm, fit, obs
from prunebench.methods import dense_fit
from prunebench.methods.dense_fit import DAMPINGS, TRIED_ROWS, USUAL, DenseFit
from prunebench.methods.dense_fit_solvers import SOLVERS, Problem, Selection, alternating
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


def pruned(
    W: Array,
    drift: Drift,
    sparsity: float,
    pattern: Any = UNSTRUCTURED,
    steps: int = 0,
    rows: Array | None = None,
    **params: Any,
) -> Any:
    params = {"damping": DAMPING, "strength": 1.0, "steps": steps} | params
    method, empty = DenseFit(DenseFit.configure(overrides=params)), without_tokens(drift)
    counts = {} if rows is None else {"linear": torch.from_numpy(rows)}
    result, _ = method.prune({"linear": torch.from_numpy(W)}, drift, empty, {"linear": sparsity}, pattern, counts)
    return result["linear"].numpy()


def without_tokens(drift: Drift) -> Drift:
    return Drift(torch.zeros_like(drift.gram), torch.zeros_like(drift.cross), drift.mends)


def test_the_fit_solves_the_stacked_least_squares_problem() -> None:
    W, X, Y = problem()
    drift = sums(W, X, Y)
    V = torch.from_numpy(W) + fit.correction(drift.cross, obs.inverse_factor(drift.gram, DAMPING))
    np.testing.assert_allclose(V.numpy(), oracle.fitted(W, X, Y, oracle.penalty(X, DAMPING)), rtol=1e-9, atol=1e-10)


def test_a_large_penalty_leaves_the_weights_as_they_are() -> None:
    W, X, Y = problem()
    drift = sums(W, X, Y)
    near = fit.correction(drift.cross, obs.inverse_factor(drift.gram, 1e6)).norm()
    far = fit.correction(drift.cross, obs.inverse_factor(drift.gram, DAMPING)).norm()
    assert 0 < near < 1e-4 * far


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_mask_for_the_weights_knows_of_no_correction(solver: str) -> None:
    W, X, Y = problem(16)
    options = {"pattern": parse_pattern("2of4"), "solver": solver}
    P = pruned(W, sums(W, X, Y), 0.5, steps=40, mask="weights", **options)
    plain, corrected = (pruned(W, sums(W, X, Y), 0.5, strength=strength, **options) for strength in (0.0, 1.0))
    assert ((P == 0) == (plain == 0)).all() and ((P == 0) != (corrected == 0)).any()
    best = oracle.on_support(W, X, Y, oracle.penalty(X, DAMPING), P != 0)
    np.testing.assert_allclose(P, best, rtol=1e-3, atol=1e-3 * np.abs(P).max())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_targets_that_are_no_numbers_are_refused(solver: str, value: float) -> None:
    W, X, Y = problem()
    drift = sums(W, X, Y)
    drift.cross[0, 0] = value
    with pytest.raises(CellFailure, match="values of the dense model are NaN or infinite"):
        pruned(W, drift, 0.5, solver=solver)


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_the_error_along_a_change_is_that_of_the_outputs(strength: float) -> None:
    W, X, Y = problem()
    start, change = np.random.default_rng(1).normal(size=(2, *W.shape))
    a, b, c = fit.error_along(*map(torch.from_numpy, (start, change)), *(sums(W, X, Y).gram, sums(W, X, Y).cross))
    grown = np.sum(((W + start + strength * change) @ X - Y) ** 2) - np.sum((W @ X - Y) ** 2)
    assert a * strength**2 + 2 * b * strength + c == pytest.approx(grown, rel=1e-10)


@pytest.mark.parametrize("copies", [1, 3])
def test_a_sampled_threshold_takes_about_the_share_of_each_matrix(copies: int) -> None:
    values = torch.cat([torch.randn(160, 64) * (i + 1) for i in range(copies)])
    for chunk in admm.about_lowest(values, 0.6, copies).chunk(copies):
        assert float(chunk.float().mean()) == pytest.approx(0.6, abs=0.05)
    assert not admm.about_lowest(values, 0.0, copies).any()


@pytest.mark.parametrize("name", ["unstructured", "2of4", "1of4"])
def test_a_part_of_the_weights_that_go_is_about_as_large_as_asked_in_each_matrix(name: str) -> None:
    pattern = parse_pattern(name)
    sparsity = float(pattern.sparsity) if pattern.structured else 0.6
    values = torch.cat([torch.randn(160, 64) * (i + 1) for i in range(3)])
    zeros = torch.zeros_like(values, dtype=torch.bool)
    zeros[:, 5] = True
    select = Selection(zeros, 3, sparsity, pattern)
    whole, part = select(values.masked_fill(zeros, 0), 1.0), select(values.masked_fill(zeros, 0), 0.5)
    assert (whole & zeros).sum() == zeros.sum() == (part & zeros).sum()
    for all_of_it, some in zip(whole.chunk(3), part.chunk(3), strict=True):
        assert float(all_of_it.float().mean()) == pytest.approx(sparsity, abs=0.001)
        assert float(some.float().mean()) == pytest.approx(0.5 * sparsity, abs=0.05)
        assert pattern.structured <= bool((all_of_it | ~some).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linears_of_one_size_are_pruned_as_if_each_were_alone(dtype: torch.dtype) -> None:
    W, X, Y = problem(16)
    weights = {"a": torch.from_numpy(W), "b": torch.from_numpy(3 * W[::-1].copy()), "c": torch.from_numpy(W[:8].copy())}
    missing = {name: sums(weight.numpy(), X, Y[: len(weight)]).cross for name, weight in weights.items()}
    gram = sums(W, X, Y).gram
    together = alternating(Problem(weights, missing, gram, DAMPING, dict.fromkeys(weights, 0.5), UNSTRUCTURED), dtype)
    for name, weight in weights.items():
        alone = Problem({name: weight}, {name: missing[name]}, gram, DAMPING, {name: 0.5}, UNSTRUCTURED)
        expected = alternating(alone, dtype)[name]
        assert int((together[name] == 0).sum()) == int((expected == 0).sum()) == weight.numel() // 2
        difference = (together[name] - expected).norm() / expected.norm()
        assert difference < (1e-4 if dtype == torch.float32 else 0.3)


def test_conjugate_gradients_reach_least_squares_on_the_support_and_never_go_back() -> None:
    W, X, Y = problem()
    r = oracle.penalty(X, DAMPING)
    kept = np.random.default_rng(2).random(W.shape) < 0.5
    kept[0] = False  # a row without weights
    V, missing, mask = torch.from_numpy(oracle.fitted(W, X, Y, r)), sums(W, X, Y).cross, torch.from_numpy(kept)
    H = torch.from_numpy(X @ X.T + r * np.eye(len(X)))
    steps = [fit.on_support(V * mask, torch.from_numpy(W), missing, H, mask, count).numpy() for count in range(18)]
    values = [oracle.objective(P, W, X, Y, r) for P in steps]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(values))
    np.testing.assert_allclose(steps[-1], oracle.on_support(W, X, Y, r, kept), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_products_in_bfloat16_cost_the_conjugate_gradients_next_to_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    W, X, _ = problem(32, 96, 2000, seed)
    X *= 10 ** random.uniform(-1, 1.5, (96, 1))  # a few inputs are much larger than others
    Y = W @ X * random.normal(1, 0.3, X.shape[1])
    r = oracle.penalty(X, DAMPING)
    kept = torch.from_numpy(random.random(W.shape) < 0.5)
    weight, missing = torch.from_numpy(W).float(), sums(W, X, Y).cross.float()
    H = torch.from_numpy(X @ X.T + r * np.eye(len(X))).float()

    def error(steps: int, dtype: torch.dtype) -> float:
        fitted = fit.on_support(weight * kept, weight, missing, H.to(dtype), kept, steps)
        return oracle.objective(fitted.double().numpy(), W, X, Y, r)

    start = error(0, torch.float32)
    for steps in (1, 3, 12):
        exact = error(steps, torch.float32)
        assert exact < 0.9 * start
        assert error(steps, torch.bfloat16) == pytest.approx(exact, abs=1e-4 * start)


@pytest.mark.parametrize("pattern", ["unstructured", "2of4"])
def test_without_drift_it_is_sparsegpt(pattern: str) -> None:
    W, X, _ = problem(width=256, tokens=300)
    drift = sums(W, X, W @ X)
    solver = SparseGPT(SparseGPT.configure(overrides={"damping": DAMPING}))
    shape = parse_pattern(pattern)
    expected = solver.prune_site({"linear": torch.from_numpy(W)}, drift.statistic, {"linear": 0.5}, shape)
    drift.cross.zero_()  # the sum rounds
    np.testing.assert_array_equal(pruned(W, drift, 0.5, shape, solver="sparsegpt"), expected["linear"].weight.numpy())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("solver", SOLVERS)
def test_no_mask_of_all_is_beaten_and_the_way_is_not_long(seed: int, solver: str) -> None:
    W, X, Y = problem(2, 6, 20, seed)
    r = oracle.penalty(X, DAMPING)
    least, dense = oracle.best_of_all_masks(W, X, Y, r, 6), oracle.objective(np.zeros_like(W), W, X, Y, r)
    P = pruned(W, sums(W, X, Y), 0.5, steps=12, solver=solver)
    reached = oracle.objective(P, W, X, Y, r)
    assert np.sum(P == 0) == 6
    assert least * (1 - 1e-6) <= reached < least + 0.5 * (dense - least)
    # The weights that stay are the optimum of their mask.
    np.testing.assert_allclose(P, oracle.on_support(W, X, Y, r, P != 0), rtol=1e-3, atol=1e-3 * np.abs(P).max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_zeros_stay_and_count(solver: str) -> None:
    W, X, Y = problem()
    W[:, ::4] = 0
    P = pruned(W, sums(W, X, Y), 0.5, steps=5, solver=solver)
    assert np.sum(P == 0) == P.size // 2 and not P[:, ::4].any()


@pytest.mark.parametrize("solver", ["admm", "sparsegpt"])
def test_outputs_of_large_sensitivity_keep_their_weights(solver: str) -> None:
    W, X, Y = problem(16)
    drift, rows = sums(W, X, Y), np.repeat([0.1, 10.0], 8)
    P, alike = (pruned(W, drift, 0.5, steps=40, rows=each, solver=solver) for each in (rows, np.full(16, 3.0)))
    assert (P == 0).sum() == P.size // 2 and (P[8:] != 0).mean() > 0.9 > (alike[8:] != 0).mean()
    np.testing.assert_array_equal(alike == 0, pruned(W, drift, 0.5, steps=40, solver=solver) == 0)
    # The weights that stay do not depend on other rows.
    best = oracle.on_support(W, X, Y, oracle.penalty(X, DAMPING), P != 0)
    np.testing.assert_allclose(P, best, rtol=1e-3, atol=1e-3 * np.abs(P).max())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("solver", ["admm", "sparsegpt"])
def test_sensitivities_lower_the_error_that_counts_by_them(seed: int, solver: str) -> None:
    def counted(P: Array) -> float:
        return oracle.objective(rows[:, None] * P, rows[:, None] * W, X, rows[:, None] * Y, r)

    W, X, Y = problem(2, 6, 20, seed)
    r, rows = oracle.penalty(X, DAMPING), np.array([0.25, 1.0])
    least, empty = oracle.best_of_all_masks(W, X, Y, r, 6, rows), counted(np.zeros_like(W))
    reached = counted(pruned(W, sums(W, X, Y), 0.5, steps=12, rows=rows, solver=solver))
    assert least * (1 - 1e-6) <= reached < least + 0.5 * (empty - least)

    W, X, Y = problem(32, seed=seed)
    r, rows = oracle.penalty(X, DAMPING), np.random.default_rng(seed).uniform(0.1, 2, 32)
    P, alike = (pruned(W, sums(W, X, Y), 0.5, steps=12, rows=each, solver=solver) for each in (rows, None))
    assert counted(P) < 0.95 * counted(alike)


@pytest.mark.parametrize(("solver", "pattern"), [("wanda", "unstructured"), ("sparsegpt", "2of4"), ("wanda", "2of4")])
def test_a_mask_of_equal_rows_knows_no_sensitivity(solver: str, pattern: str) -> None:
    W, X, Y = problem(16)
    rows = np.random.default_rng(1).uniform(0.05, 3, 16)
    P, alike = (
        pruned(W, sums(W, X, Y), 0.5, parse_pattern(pattern), rows=each, solver=solver) for each in (rows, None)
    )
    np.testing.assert_array_equal(P == 0, alike == 0)


class TestChoice:
    """The damping and the strength that the held-out windows choose."""

    @staticmethod
    def choose(part: Drift, held_out: Drift, W: Array, **params: Any) -> tuple[float, float]:
        method = DenseFit(DenseFit.configure(overrides={"solver": "sparsegpt"} | params))
        _, chosen = method.prune({"linear": torch.from_numpy(W)}, part, held_out, {"linear": 0.0}, UNSTRUCTURED, {})
        return chosen["damping"], chosen["strength"]

    def test_a_drift_that_recurs_exactly_is_corrected_as_far_as_any(self) -> None:
        W, X, Y = problem(16)
        assert self.choose(sums(W, X, Y), sums(W, X, Y), W) == (min(DAMPINGS), USUAL[1])

    def test_a_drift_that_does_not_recur_is_not_corrected(self) -> None:
        W, X, Y = problem(16)
        assert self.choose(sums(W, X, Y), sums(W, X, W @ X), W)[1] == pytest.approx(0, abs=1e-6)

    def test_a_drift_that_turns_round_is_not_corrected(self) -> None:
        W, X, Y = problem(16)
        assert self.choose(sums(W, X, Y), sums(W, X, 2 * W @ X - Y), W)[1] == 0

    @pytest.mark.parametrize(("recurs", "least"), [(1.0, 0.4), (2.0, USUAL[1])])
    def test_the_pair_has_the_least_error_of_a_fine_grid(
        self, recurs: float, least: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dense_fit, "TRIED_STEPS", 60)
        random = np.random.default_rng(3)
        W, X, _ = problem(64, seed=3)
        X_new = problem(64, seed=4)[1]
        drift = random.normal(size=W.shape)
        Y = W @ X + drift @ X + random.normal(size=(64, X.shape[1]))
        Y_new = W @ X_new + recurs * drift @ X_new
        rows = W[::TRIED_ROWS]
        kept = np.random.default_rng(5).random(W.shape) < 0.5
        errors = {}
        for damping, strength in itertools.product(DAMPINGS, np.linspace(0, USUAL[1], 56)):
            target = rows @ X + strength * (Y[::TRIED_ROWS] - rows @ X)
            P = oracle.on_support(rows, X, target, oracle.penalty(X, damping), kept[::TRIED_ROWS])
            errors[damping, strength] = np.sum((P @ X_new - Y_new[::TRIED_ROWS]) ** 2)
        method = DenseFit(DenseFit.configure())
        masks = {"linear": torch.from_numpy(kept)}
        part, held_out = sums(W, X, Y), sums(W, X_new, Y_new)
        damping, strength = method._choose({"linear": torch.from_numpy(W)}, masks, part, held_out)
        best = min(errors, key=errors.__getitem__)
        assert damping == best[0] and strength >= least and (strength < USUAL[1]) == (recurs == 1.0)
        assert strength == pytest.approx(best[1], abs=0.0051)

    def test_given_values_and_missing_windows(self) -> None:
        W, X, Y = problem()
        part = sums(W, X, Y)
        none = without_tokens(part)
        assert self.choose(part, none, W) == USUAL
        assert self.choose(part, none, W, strength=0.0) == (USUAL[0], 0.0)
        assert self.choose(part, part, W, damping=0.2, strength=0.5) == (0.2, 0.5)
        assert self.choose(part, part, W, damping=0.2)[0] == 0.2
        assert self.choose(part, part, W, strength=0.25)[1] == 0.25


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


def recorded(
    directory: Path, name: str, scratch: Path, dtype: torch.dtype = torch.float32, **options: Any
) -> list[dict[str, tuple[Drift, Drift]]]:
    """The sums of the sites of each block for four and two windows of 16 tokens."""
    model, recorder = tiny.open_model(directory, name, dtype), Recorder(**options)
    work = Scratch(scratch, TensorStore(directory, torch.bfloat16))
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    prune_model(model, recorder, allocation, UNSTRUCTURED, tiny.tokens(6, 16), work, batch_size=4)
    return recorder.sums


class Watched(DenseFit):
    """Keeps the sums that each site is pruned with, by the name of its first linear."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sums: list[tuple[str, Drift, Drift]] = []
        self.counted: set[str] = set()

    def prune(self, weights: Any, part: Drift, held_out: Drift, *rest: Any) -> Any:
        self.sums.append((next(iter(weights)), part, held_out))
        self.counted |= set(rest[-1])
        return super().prune(weights, part, held_out, *rest)


@pytest.mark.parametrize(
    ("params", "pattern", "counts"),
    [
        ({}, "unstructured", True),
        ({"solver": "sparsegpt"}, "unstructured", True),
        ({"sensitive": False}, "unstructured", False),
        ({"solver": "wanda"}, "unstructured", False),
        ({}, "2of4", False),
    ],
)
def test_errors_count_by_sensitivity_if_the_mask_takes_from_all_rows(
    params: dict[str, Any], pattern: str, counts: bool, tmp_path: Path
) -> None:
    directory = tiny.make_model(tmp_path / "model")
    method = Watched(DenseFit.configure(overrides=params))
    model, work = tiny.open_model(directory), Scratch(tmp_path / "work", TensorStore(directory))
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    prune_model(model, method, allocation, parse_pattern(pattern), tiny.tokens(6, 16), work, batch_size=4)
    assert method.counted == (set(model.family.linears()) if counts else set())


def test_in_the_order_of_blocks_no_site_sees_another_pruned(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model")
    (plain, _) = recorded(directory, "llama", tmp_path / "plain")
    expected = [(part, held_out) for part, held_out in plain.values()]
    for order in ("block", "sites"):
        method = Watched(DenseFit.configure(overrides={"order": order}))
        model, work = tiny.open_model(directory), Scratch(tmp_path / order, TensorStore(directory, torch.bfloat16))
        allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
        prune_model(model, method, allocation, UNSTRUCTURED, tiny.tokens(6, 16), work, batch_size=4)
        equal = [
            all(torch.equal(one.gram, other.gram) for one, other in zip(parts, both, strict=True))
            for (_, *parts), both in zip(method.sums, expected, strict=False)
        ]
        assert equal == ([True] * 4 if order == "block" else [True, False, False, False])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_inputs_have_not_drifted_so_that_sparsegpt_prunes_them_alike(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    directory = tiny.make_model(tmp_path / "model", blocks=1)
    full = {"solver": "sparsegpt", "steps": 0, "strength": 1.0, "damping": 0.01, "sensitive": False}
    results = []
    for method in (SparseGPT(), DenseFit(DenseFit.configure(overrides=full))):
        model, work = tiny.open_model(directory, dtype=dtype), Scratch(tmp_path / method.name, TensorStore(directory))
        allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
        prune_model(model, method, allocation, UNSTRUCTURED, tiny.tokens(6, 16), work, batch_size=4)
        results.append(work.get_or(0, lambda: pytest.fail("the block is not on disk"))[0])
    first, others = ("q_proj", "k_proj", "v_proj"), ("o_proj", "down_proj")
    equal = {name.split(".")[-2]: torch.equal(results[0][name], results[1][name]) for name in results[0]}
    assert all(equal[name] for name in first) and not any(equal[name] for name in others)


@pytest.mark.parametrize("windows", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_few_windows_leave_none_out_and_are_enough(windows: int, dtype: torch.dtype, tmp_path: Path) -> None:
    directory, method = tiny.make_model(tmp_path / "model"), Watched(DenseFit.configure())
    model, work = tiny.open_model(directory, dtype=dtype), Scratch(tmp_path / "work", TensorStore(directory))
    allocation = dict.fromkeys(linear_sizes(directory, model.family), 0.5)
    records = prune_model(model, method, allocation, UNSTRUCTURED, tiny.tokens(windows, 16), work, batch_size=2)
    for record in records:
        assert all(linear["zeros"] == linear["weights"] // 2 for linear in record["linears"].values())
        usual = all((fits["damping"], fits["strength"]) == USUAL for fits in record["fits"].values())
        assert usual == (windows < 4)
    assert all(held_out.tokens == (16 if windows == 4 else 0) for _, _, held_out in method.sums)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "adds"), [("llama", True), ("gptj", True), ("granite", False)])
def test_they_are_corrected_where_some_tokens_have_huge_states(
    name: str, adds: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    directory = tiny.make_model(tmp_path / "model", name)
    file = directory / "model.safetensors"
    weights = load_file(file)
    (embedding,) = (key for key in weights if key.endswith(("embed_tokens.weight", "wte.weight")))
    weights[embedding][::2] *= 300
    save_file(weights, file, metadata={"format": "pt"})
    with_states, without = (
        recorded(directory, name, tmp_path / str(residual), dtype, residual=residual)[1]["ffn_mid"][0].cross
        for residual in (True, False)
    )
    assert torch.equal(with_states, without) != adds
