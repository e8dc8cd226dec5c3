"""SparseLLM inside the engine: its sweep and its epochs against the oracle, and what must hold of any run."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from contract.test_methods import prune
from contract.test_sparsegpt import SolvingDTypes
from oracles import sparsellm as oracle
from prunebench.allocators.owl import Owl
from prunebench.engine.activations import advance, embed
from prunebench.engine.anatomy import Anatomy, linear_sizes
from prunebench.engine.block import BlockView
from prunebench.engine.contract import Method
from prunebench.engine.placement.spill import Spill
from prunebench.engine.profile import profile_model
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.formulas import masks, scores
from prunebench.methods import sparsellm as sparsellm_module
from prunebench.methods import sparsellm_sweep
from prunebench.methods.sparsegpt import SparseGPT
from prunebench.methods.sparsellm import SparseLLM
from prunebench.methods.sparsellm_sweep import Auxiliaries, FfnWeights, Losses, Products
from prunebench.patterns import UNSTRUCTURED, Pattern, parse_pattern

# Two blocks are all that the models here have, so none may be passed over.
RELEASED = SparseLLM.presets["released"] | {"plain_blocks": ()}
RELEASED_OPT = SparseLLM.presets["released_opt"]


def sparsellm(**overrides: Any) -> SparseLLM:
    return SparseLLM(SparseLLM.configure(overrides=overrides))


@pytest.fixture(scope="session", params=["llama", "qwen3", "opt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(architecture, directory) of a tiny random model."""
    return request.param, tiny.make_model(tmp_path_factory.mktemp("model"), request.param)


@contextmanager
def opened(
    model: tuple[str, Path], scratch: Path, *, index: int = 0, dtype: torch.dtype = torch.float32, samples: int = 16
) -> Iterator[BlockView]:
    """A block as a method sees it, after dense blocks; weights are kept in float32."""
    name, directory = model
    streamed = tiny.open_model(directory, name, dtype, storage=torch.float32)
    activations = embed(streamed, tiny.tokens(samples, 16), 4)
    for before in range(index):
        with streamed.block(before) as module:
            advance(activations, module, before)
    with streamed.block(index) as module:
        yield BlockView(module, index, activations, model=streamed, scratch=scratch)


def solve(
    view: BlockView, method: Method, sparsity: float | Mapping[str, float], pattern: Pattern = UNSTRUCTURED
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(pruned weights, record) of one block."""
    allocation = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(view.full_names, sparsity)
    statistics = view.statistics(method.needs, [site.name for site in view.sites])
    result = method.prune_block(view, statistics, allocation, pattern)
    return {linear: entry.weight for linear, entry in result.linears.items()}, result.record


def array(value: torch.Tensor) -> oracle.Array:
    return np.asarray(value.double().cpu().numpy())


def as_oracle(view: BlockView) -> oracle.Ffn:
    """The block's present FFN."""
    roles = view.ffn

    def bias(linear: str) -> oracle.Array | float:
        found = view.bias(linear)
        return 0.0 if found is None else array(found)[:, None]

    return oracle.Ffn(
        array(view.weight(roles.up)),
        array(view.weight(roles.down)),
        array(view.weight(roles.gate)) if roles.gate else None,
        bias(roles.up),
        bias(roles.down),
    )


def ffn_linears(view: BlockView) -> list[str]:
    roles = view.ffn
    return [linear for linear in (roles.up, roles.gate, roles.down) if linear]


def magnitude(view: BlockView) -> dict[str, torch.Tensor]:
    """The FFN's linears without the smaller half of their weights."""
    weights = {linear: view.weight(linear) for linear in ffn_linears(view)}
    return {
        linear: masks.zeroed(weight, masks.lowest_of_matrix(scores.magnitude(weight), 0.5))
        for linear, weight in weights.items()
    }


def inputs(view: BlockView) -> oracle.Array:
    """X [hidden, tokens] of the FFN."""
    point = f"{view.ffn.up}.in"
    return np.hstack([array(chunk[point]).T for chunk in view.stream([point])])


def swept(
    view: BlockView, scratch: Path, memory: float = 4.0, sweeps: int = 2, **params: Any
) -> tuple[list[Losses], list[Products], Auxiliaries]:
    """Some sweeps with magnitude-pruned weights, each with sums of its own."""
    auxiliaries = Auxiliaries(view, Spill(scratch, torch.device(tiny.DEVICE), memory))
    view.install(magnitude(view))
    ffn = FfnWeights.of(view)
    penalties = sparsellm(**params).penalties(ffn.activation)
    sums = [Products.zeros(ffn) for _ in range(sweeps)]
    return [auxiliaries.sweep(ffn, penalties, each) for each in sums], sums, auxiliaries


UNEQUAL = {"alpha": 0.7, "beta": 3.0, "gamma": 1.9}


def test_two_sweeps_are_the_oracles(model: tuple[str, Path], tmp_path: Path) -> None:
    """The sweeps use float32, whose sums over 256 tokens of products of 32 to 48 numbers keep five digits."""
    by = oracle.Penalties(**UNEQUAL)
    with opened(model, tmp_path) as view:
        X, dense = inputs(view), as_oracle(view)
        losses, sums, auxiliaries = swept(view, tmp_path, s_step="gradient", **UNEQUAL)
        pruned = as_oracle(view)
    Y, (z, s), (m, g) = dense(X), dense.pre(X), pruned.pre(X)
    for found, products in zip(losses, sums, strict=True):
        p = oracle.update_p(pruned, Y, z, s, by)
        z = oracle.update_z(m, s, p, by)
        if s is not None and g is not None:
            s = oracle.update_s_by_gradient(s, g, z, p, by)
        assert found.terms == pytest.approx(oracle.terms(pruned, X, Y, p, z, s, by), rel=1e-4)
        assert found.reconstruction == pytest.approx(oracle.reconstruction(pruned, X, Y), rel=1e-5)
        close(products.up, (z - m) @ X.T)
        close(products.down, (Y - pruned.down_bias) @ p.T)
        close(products.gram.tril(), np.tril(p @ p.T))
        assert (products.gate is None) == (s is None)
        if products.gate is not None and s is not None and g is not None:
            close(products.gate, (s - g) @ X.T)
    close(auxiliaries.z, z.T)
    if auxiliaries.s is not None and s is not None:
        close(auxiliaries.s, s.T)


def close(found: torch.Tensor, expected: oracle.Array, digits: float = 1e-4) -> None:
    assert np.abs(array(found) - expected).max() < digits * np.abs(expected).max()


def test_the_last_sweep_records_and_moves_nothing(model: tuple[str, Path], tmp_path: Path) -> None:
    with opened(model, tmp_path) as view:
        (moving, _), _, _ = swept(view, tmp_path)
    with opened(model, tmp_path) as view:
        auxiliaries = Auxiliaries(view, Spill(tmp_path, torch.device(tiny.DEVICE), 4))
        view.install(magnitude(view))
        ffn = FfnWeights.of(view)
        before = auxiliaries.z.clone(), None if auxiliaries.s is None else auxiliaries.s.clone()
        still = auxiliaries.sweep(ffn, sparsellm().penalties(ffn.activation), None)
    assert still == moving
    assert torch.equal(auxiliaries.z, before[0])
    assert auxiliaries.s is None or torch.equal(auxiliaries.s, before[1])


def test_with_the_weights_fixed_no_sweep_raises_the_objective(model: tuple[str, Path], tmp_path: Path) -> None:
    with opened(model, tmp_path, dtype=torch.float64) as view:
        losses, _, _ = swept(view, tmp_path, sweeps=6, **UNEQUAL)
    totals = [sum(found.terms.values()) for found in losses]
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(totals))
    assert totals[-1] < 0.99 * totals[0]


@pytest.mark.parametrize(("slab", "piece"), [(7, 1 << 16), (4096, 100), (100, 4000)])
def test_how_the_tokens_are_cut_changes_nothing(
    model: tuple[str, Path], slab: int, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(model, tmp_path) as view:
        whole, sums, auxiliaries = swept(view, tmp_path)
    monkeypatch.setattr(sparsellm_sweep, "SLAB", slab)
    monkeypatch.setattr(sparsellm_sweep, "PIECE", piece)
    with opened(model, tmp_path) as view:
        cut, other, moved = swept(view, tmp_path)
    for one, two in zip(whole, cut, strict=True):
        assert two.reconstruction == pytest.approx(one.reconstruction, rel=1e-5)
        assert two.terms == pytest.approx(one.terms, rel=1e-4)
    for here, there in zip(sums, other, strict=True):
        close(there.up, array(here.up))
        close(there.down, array(here.down))
        close(there.gram.tril(), array(here.gram.tril()))
    close(moved.z, array(auxiliaries.z))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_files_and_memory_give_the_same_bits(model: tuple[str, Path], dtype: torch.dtype, tmp_path: Path) -> None:
    runs = {}
    for memory in (0, 4):
        with opened(model, tmp_path / str(memory), dtype=dtype) as view:
            runs[memory] = solve(view, sparsellm(memory=memory, keep_best=False), 0.7)
    (filed, record), (kept, same) = runs.values()
    assert record == same
    assert all(torch.equal(filed[linear], kept[linear]) for linear in kept)
    assert not list(tmp_path.rglob("*spill*"))


def test_what_does_not_fit_lies_in_files_that_leave_no_trace(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "scratch", torch.device("cpu"), resident=1e-3)
    kept, filed = spill.empty(500, 500, torch.float32), spill.empty(500, 500, torch.float32)
    filed.copy_(kept.normal_())
    assert torch.equal(filed, kept)
    maps = Path("/proc/self/maps")
    if maps.exists():
        mapped = [line for line in maps.read_text().splitlines() if "spill-" in line]
        assert len(mapped) == 1 and str(tmp_path) in mapped[0]
        del filed
        assert "spill-" not in maps.read_text()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_full_disk_is_an_error_before_anything_is_computed(tmp_path: Path) -> None:
    spill = Spill(tmp_path, torch.device("cpu"), resident=0)
    with pytest.raises(PrunebenchError, match=r"no room for 4194304\.0 GiB .* raise the method's 'memory'"):
        spill.empty(1 << 30, 1 << 20, torch.float32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", ["unstructured", "2of4"])
def test_one_epoch_is_sparsegpt(model: tuple[str, Path], pattern: str, dtype: torch.dtype, tmp_path: Path) -> None:
    prune(model, SparseGPT(), pattern, 0.5, tmp_path / "plain", dtype)
    for run, params in {"one": {"epochs": 1}, "plain_blocks": {"epochs": 4, "plain_blocks": (0, 1)}}.items():
        prune(model, sparsellm(**params), pattern, 0.5, tmp_path / run, dtype)
        assert (tmp_path / run / "all.safetensors").read_bytes() == (tmp_path / "plain/all.safetensors").read_bytes()


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_first_epoch_is_sparsegpt(model: tuple[str, Path], preset: str, tmp_path: Path) -> None:
    """A longer run returns its first epoch if the others are worse, as here, where they refit to almost nothing."""
    params = {"solver_preset": preset, "damping_mode": "accumulating", "ridge": 1e6, "anchor": "zero"}
    with opened(model, tmp_path) as view:
        plain, _ = solve(view, SparseGPT(SparseGPT.configure(preset)), 0.7)
    with opened(model, tmp_path) as view:
        kept, record = solve(view, sparsellm(epochs=3, **params), 0.7)
    assert len(record["epochs"]) == 3 and record["kept"] == 1
    assert all(torch.equal(kept[linear], plain[linear].to(kept[linear].dtype)) for linear in plain)


def reconstruction(model: tuple[str, Path], weights: Mapping[str, torch.Tensor], scratch: Path, index: int) -> float:
    """||Y - FFN(X)||^2 / ||Y - b||^2 of weights as they are stored, by the block itself."""
    with opened(model, scratch, index=index) as view:
        roles = view.ffn
        point = f"{roles.down}.out"
        trial = {linear: weights[linear].to(view.weight(linear).dtype) for linear in ffn_linears(view)}
        missed = whole = 0.0
        bias = view.bias(roles.down)
        for before, after in zip(view.stream([point]), view.stream([point], trial), strict=True):
            target = before[point] if bias is None else before[point] - bias
            missed += float((before[point] - after[point]).double().square().sum())
            whole += float(target.double().square().sum())
    return missed / whole


@pytest.mark.parametrize("allocator", ["uniform", "owl"])
@pytest.mark.parametrize(
    ("pattern", "sparsity", "params"),
    [
        ("unstructured", 0.7, {}),
        ("unstructured", 0.5, {"solver": "wanda", "ridge": 1e-3}),
        ("2of4", 0.5, {"alpha": 0.1, "gamma": 1.0}),
        ("1of4", 0.75, {"anchor": "dense"}),
    ],
)
def test_a_block_never_ends_worse_than_with_the_inner_solver(
    model: tuple[str, Path], pattern: str, sparsity: float, params: dict[str, Any], allocator: str, tmp_path: Path
) -> None:
    if allocator == "owl" and pattern != "unstructured":
        pytest.skip("patterns of groups fix the sparsity")
    allocation = owl(model, sparsity, tmp_path / "profile") if allocator == "owl" else {}
    shape = parse_pattern(pattern)
    for index in range(2):
        found: dict[int, dict[str, torch.Tensor]] = {}
        for epochs in (1, 4):
            with opened(model, tmp_path, index=index) as view:
                shares = {linear: allocation.get(name, sparsity) for linear, name in view.full_names.items()}
                found[epochs], record = solve(view, sparsellm(epochs=epochs, **params), shares, shape)
        assert set(found[4]) == set(found[1])
        first, best = (reconstruction(model, weights, tmp_path, index) for weights in found.values())
        assert best <= first * (1 + 1e-6)
        recorded = [epoch["reconstruction"] for epoch in record["epochs"]]
        assert recorded[0] == pytest.approx(first, rel=1e-4)
        assert min(recorded) == recorded[record["kept"] - 1] == pytest.approx(best, rel=1e-4)
        for epoch in record["epochs"]:
            wanted = {"up", "down", "activation"} | ({"gate"} if model[0] != "opt" else set())
            assert set(epoch["terms"]) == wanted and all(value > 0 for value in epoch["terms"].values())


def owl(model: tuple[str, Path], sparsity: float, work: Path) -> dict[str, float]:
    """OWL's allocation, by full names."""
    name, directory = model
    streamed = tiny.open_model(directory, name)
    work.mkdir()
    save_file(profile_model(streamed, tiny.tokens(6, 16), batch_size=4), work / "profile.safetensors")
    anatomy = Anatomy(directory, streamed.family, torch.bfloat16, work / "profile.safetensors")
    found: dict[str, float] = Owl().allocate(anatomy, sparsity)
    assert len({round(share, 6) for share in found.values()}) > 1
    return found


def test_the_best_epoch_is_often_a_later_one(tmp_path: Path) -> None:
    """If it were always the first, the test above would compare SparseGPT with itself."""
    for name in ("llama", "opt"):
        with opened((name, tiny.make_model(tmp_path / name, name)), tmp_path) as view:
            _, record = solve(view, sparsellm(), 0.7)
        losses = [epoch["reconstruction"] for epoch in record["epochs"]]
        assert record["kept"] > 1 and min(losses) < 0.95 * losses[0]


def test_targets_after_are_those_of_a_block_whose_attention_is_pruned(model: tuple[str, Path], tmp_path: Path) -> None:
    with opened(model, tmp_path) as view:
        ours, _ = solve(view, sparsellm(targets="after", keep_best=False), 0.7)
    with opened(model, tmp_path) as view:
        early, _ = solve(view, sparsellm(keep_best=False), 0.7)
    attention = [linear for linear in early if linear not in ffn_linears(view)]
    with opened(model, tmp_path) as view:
        view.install({linear: early[linear] for linear in attention})
        expected, _ = solve(view, sparsellm(keep_best=False), 0.7)
    for linear in attention:
        assert torch.equal(ours[linear], early[linear])
    for linear in ffn_linears(view):
        assert torch.equal(ours[linear], expected[linear])
        assert not torch.equal(ours[linear], early[linear])


def test_a_dense_anchor_holds_the_dense_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    x, cross, dense = (torch.randn(*shape, generator=generator).double() for shape in ((90, 8), (5, 8), (5, 8)))
    gram = x.T @ x
    held = sparsellm(anchor="dense", ridge=1e9).least_squares(cross, gram, dense)
    torch.testing.assert_close(held, dense, rtol=1e-6, atol=1e-6)
    free = [sparsellm(anchor=anchor, ridge=1e-12).least_squares(cross, gram, dense) for anchor in ("dense", "zero")]
    torch.testing.assert_close(*free, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(free[0], torch.linalg.solve(gram, cross.T).T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("pattern", ["unstructured", "2of4"])
@pytest.mark.parametrize(
    ("name", "params", "down"),
    [("llama", RELEASED, None), ("qwen3", RELEASED, None), ("opt", RELEASED_OPT, oracle.refit_by_gradient)],
)
def test_released_is_the_oracles_loop(
    name: str, params: dict[str, Any], down: Any, pattern: str, tmp_path: Path
) -> None:
    """Float32 against float64: the same masks to the last weight, and four digits of what is left after four epochs.

    Each refit hands the noise of float32 (1e-7, times the condition of X) on to the next epoch.
    """
    directory = tiny.make_model(tmp_path / "model", name)
    method = sparsellm(epochs=4, **params)
    by = oracle.Penalties(method.params.alpha, method.params.beta, method.params.gamma)
    with opened((name, directory), tmp_path) as view:
        X, dense = inputs(view), as_oracle(view)
        weights, record = solve(view, method, 0.5, parse_pattern(pattern))
    run = oracle.released(dense, X, 0.5, parse_pattern(pattern), by, epochs=4, down=down)
    assert record["kept"] == 4 and len(record["epochs"]) == 4
    for found, terms, loss in zip(record["epochs"], run.terms, run.reconstruction, strict=True):
        assert found["terms"] == pytest.approx(terms, rel=1e-3)
        assert found["reconstruction"] == pytest.approx(loss, rel=1e-3)
    last = run.weights[-1]
    wanted = [weight for weight in (last.up, last.gate, last.down) if weight is not None]
    for linear, expected in zip(ffn_linears(view), wanted, strict=True):
        assert np.array_equal(array(weights[linear]) == 0, expected == 0)
        close(weights[linear], expected, 1e-3)


def make_steep(directory: Path, steepness: float = 1e4) -> Path:
    """A model whose FFN has outliers as large models do: where |silu'(s) z| > 4.4 gradient steps grow without end."""
    tiny.make_model(directory)
    file = directory / "model.safetensors"
    weights = load_file(file)
    for linear, scale in (("up_proj", steepness), ("down_proj", 1 / steepness)):
        weights[f"model.layers.0.mlp.{linear}.weight"] *= scale
    save_file(weights, file, metadata={"format": "pt"})
    return directory


def test_where_gradient_steps_diverge_the_cell_fails_and_newton_does_not(tmp_path: Path) -> None:
    steep = "llama", make_steep(tmp_path / "model")
    with pytest.raises(CellFailure, match=r"SparseLLM diverged in epoch \d of block 0"):
        prune(steep, sparsellm(**RELEASED), "unstructured", 0.7, tmp_path / "gradient", torch.float32)
    weights, records = prune(steep, sparsellm(), "unstructured", 0.7, tmp_path / "newton", torch.float32)
    assert "stopped" not in records[0] and all(weight.isfinite().all() for weight in weights.values())
    losses = [epoch["reconstruction"] for epoch in records[0]["epochs"]]
    assert len(losses) == 4 and losses[records[0]["kept"] - 1] <= losses[0]


def test_keep_best_survives_divergence_and_says_so(tmp_path: Path) -> None:
    steep = "llama", make_steep(tmp_path / "model")
    kept, records = prune(
        steep, sparsellm(s_step="gradient"), "unstructured", 0.7, tmp_path / "gradient", torch.float32
    )
    assert "diverged in epoch" in records[0]["stopped"]
    losses = [epoch["reconstruction"] for epoch in records[0]["epochs"]]
    assert losses[records[0]["kept"] - 1] == min(losses)
    assert all(weight.isfinite().all() for weight in kept.values())


def test_what_diverges_without_overflow_fails_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The FFN's output is off by thousands of its norm: no result to put beside others."""
    steep = "llama", make_steep(tmp_path / "model", steepness=30)
    with pytest.raises(CellFailure, match=r"SparseLLM diverged in epoch \d of block 0"):
        prune(steep, sparsellm(**RELEASED), "unstructured", 0.7, tmp_path / "bounded", torch.float32)
    monkeypatch.setattr(sparsellm_module, "DIVERGED", float("inf"))
    _, records = prune(steep, sparsellm(**RELEASED), "unstructured", 0.7, tmp_path / "free", torch.float32)
    assert 100 < records[0]["epochs"][-1]["reconstruction"] < float("inf")


def test_what_diverges_at_once_is_left_as_the_inner_solver_had_it(tmp_path: Path) -> None:
    steep = "llama", make_steep(tmp_path / "model", steepness=1e12)
    plain, _ = prune(steep, SparseGPT(), "unstructured", 0.7, tmp_path / "plain", torch.float32)
    kept, records = prune(
        steep, sparsellm(s_step="gradient"), "unstructured", 0.7, tmp_path / "gradient", torch.float32
    )
    assert records[0]["kept"] == 1 and not records[0]["epochs"] and "epoch 1 of block 0" in records[0]["stopped"]
    first = [name for name in plain if ".layers.0." in name]
    assert len(first) == 7 and all(torch.equal(kept[name], plain[name]) for name in first)


def test_an_ungated_ffn_must_have_relu(tmp_path: Path) -> None:
    directory = tiny.make_model(tmp_path / "model", "opt", activation_function="gelu")
    with pytest.raises(CellFailure, match="that of ReLU"):
        prune(("opt", directory), sparsellm(), "unstructured", 0.5, tmp_path / "scratch")


def test_every_linear_of_the_block_is_pruned(model: tuple[str, Path], tmp_path: Path) -> None:
    sizes = linear_sizes(model[1], tiny.open_model(model[1], model[0]).family)
    weights, records = prune(model, sparsellm(solver="wanda", keep_best=False), "unstructured", 0.5, tmp_path)
    assert set(weights) == {f"{linear}.weight" for linear in sizes}
    for weight in weights.values():
        assert ((weight == 0).sum(dim=1) == weight.shape[1] // 2).all()
    assert all(record["kept"] == 4 for record in records)


@pytest.mark.parametrize("params", [{}, {"anchor": "dense"}, {"solver": "wanda"}])
def test_in_float32_it_solves_nothing_in_float64_and_comes_as_near(
    model: tuple[str, Path], params: dict[str, Any], tmp_path: Path
) -> None:
    """Two epochs: in later ones a weight whose rank moves with rounding takes the others along."""
    losses = {}
    for dtype in ("float64", "float32"):
        with opened(model, tmp_path) as view, SolvingDTypes() as solving:
            _, record = solve(view, sparsellm(epochs=2, solve_dtype=dtype, **params), 0.7)
        losses[dtype] = [epoch["reconstruction"] for epoch in record["epochs"]]
        assert (torch.float64 in solving.dtypes) == (dtype == "float64")
    assert losses["float32"] == pytest.approx(losses["float64"], rel=1e-3) and len(losses["float32"]) == 2


@pytest.mark.parametrize(
    ("name", "params"), [("ridge", RELEASED), ("ridge", {"ridge": 0.0}), ("ridge", {"ridge": 1e-4}),
                         ("damping", {"damping": 1e-4})]
)  # fmt: skip
def test_float32_is_refused_with_too_small_a_penalty(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"solve_dtype: float32 needs '{name}' to be at least 0\.003"):
        sparsellm(solve_dtype="float32", **params)
    sparsellm(**params)


def test_wanda_inside_needs_no_damping_for_float32() -> None:
    sparsellm(solve_dtype="float32", solver="wanda", damping=0.0)
