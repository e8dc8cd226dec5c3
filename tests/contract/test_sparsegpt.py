"""SparseGPT against the OBS formulas, the brute-force optimum, and what must hold of any run."""

import gc
import itertools
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from oracles import masks as masks_oracle
from oracles import sparsegpt as oracle
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import SiteStatistic
from prunebench.errors import CellFailure
from prunebench.formulas import obs
from prunebench.methods.magnitude import Magnitude
from prunebench.methods.sparsegpt import SINGLE_DAMPING, SparseGPT
from prunebench.patterns import UNSTRUCTURED, Pattern, parse_pattern

POINTS = [("unstructured", 0.5), ("unstructured", 0.7), ("2of4", 0.5), ("1of4", 0.75), ("4of8", 0.5), ("8of16", 0.5)]


def inputs(
    width: int, tokens: int = 300, *, dead: int = 0, condition: float = 1.0, mixing: float = 10.0, seed: int = 0
) -> torch.Tensor:
    """Inputs [tokens, width]; `condition` is the ratio of the largest to the smallest scale squared, `mixing` how much
    each contains of the others."""
    generator = torch.Generator().manual_seed(seed)
    others = torch.randn(width, width, generator=generator) * mixing / width**0.5
    mixed = torch.randn(tokens, width, generator=generator) @ (torch.eye(width) + others)
    x = mixed * torch.logspace(0, -0.5 * np.log10(condition), width)[torch.randperm(width, generator=generator)]
    x[:, torch.randperm(width, generator=generator)[:dead]] = 0
    return x


def statistic(x: torch.Tensor) -> SiteStatistic:
    found = SiteStatistic()
    found.add(x, {Stat.HESSIAN})
    return found


def weights(*outs: int, width: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"linear{i}": torch.randn(out, width, generator=generator) for i, out in enumerate(outs)}


def prune(linears: dict[str, torch.Tensor], x: torch.Tensor, sparsity: float, pattern: Pattern, **params: Any) -> Any:
    method = SparseGPT(SparseGPT.Params(**params))
    result = method.prune_site(linears, statistic(x), dict.fromkeys(linears, sparsity), pattern)
    return {name: entry.weight for name, entry in result.items()}


def output_error(x: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> float:
    return float((x.double() @ (before.double() - after.double()).T).square().sum())


@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
@pytest.mark.parametrize("dead", [0, 7])
@pytest.mark.parametrize("condition", [1.0, 1e10])
@pytest.mark.parametrize("width", [32, 160, 272])
def test_equals_the_column_by_column_oracle(
    width: int, pattern: str, sparsity: float, dead: int, condition: float
) -> None:
    x = inputs(width, dead=dead, condition=condition)
    shape = parse_pattern(pattern)
    linears = weights(20, 9, width=width)
    pruned = prune(linears, x, sparsity, shape)
    for name, weight in linears.items():
        expected, gone = oracle.prune(weight.double().numpy(), statistic(x).hessian.numpy(), sparsity, shape)
        assert np.array_equal(pruned[name].numpy() == 0, gone)
        assert np.allclose(pruned[name].numpy(), expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 70),
    out=st.integers(1, 8),
    columns=st.integers(1, 40),
    sparsity=st.floats(0, 1),
    dead=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_any_shape_meets_the_oracle_and_the_budget(
    width: int, out: int, columns: int, sparsity: float, dead: int, seed: int
) -> None:
    x = inputs(width, dead=min(dead, width - 1), seed=seed)
    (weight,) = weights(out, width=width, seed=seed).values()
    pruned = prune({"w": weight}, x, sparsity, UNSTRUCTURED, columns=columns)["w"]
    expected, gone = oracle.prune(
        weight.double().numpy(), statistic(x).hessian.numpy(), sparsity, UNSTRUCTURED, columns=columns
    )
    assert np.array_equal(pruned.numpy() == 0, gone)
    assert np.allclose(pruned.numpy(), expected, rtol=1e-6, atol=1e-7 * max(1, np.abs(expected).max()))


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 17).map(lambda groups: 4 * groups),
    columns=st.integers(1, 40),
    point=st.sampled_from([("unstructured", 0.0), ("unstructured", 0.5), ("unstructured", 0.83), ("2of4", 0.5)]),
    before=st.floats(0, 1),
    dead=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_zeros_go_first_stay_and_meet_the_oracle(
    width: int, columns: int, point: tuple[str, float], before: float, dead: int, seed: int
) -> None:
    x, (weight,), shape = inputs(width, dead=dead, seed=seed), weights(5, width=width, seed=seed).values(), point[0]
    weight[torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < before] = 0
    pattern = parse_pattern(shape)
    pruned = prune({"w": weight}, x, point[1], pattern, columns=columns)["w"]
    expected, gone = oracle.prune(
        weight.double().numpy(), statistic(x).hessian.numpy(), point[1], pattern, columns=columns
    )
    assert np.array_equal(pruned.numpy() == 0, gone)
    assert (pruned[weight == 0] == 0).all()
    assert np.allclose(pruned.numpy(), expected, rtol=1e-6, atol=1e-7 * max(1, np.abs(expected).max()))
    unit, size = ("groups", 4) if pattern.structured else ("strips", columns)
    had, have = (masks_oracle.units(matrix.numpy(), unit, size) for matrix in (weight, pruned))
    counts = [2 if pattern.structured else masks_oracle.nearest(part.size, f"{point[1]:.2f}") for part in had]
    surplus = [max(0, int((part == 0).sum()) - count) for part, count in zip(had, counts, strict=True)]
    assert [int((part == 0).sum()) for part in have] == [sum(pair) for pair in zip(counts, surplus, strict=True)]
    method = SparseGPT(SparseGPT.Params(columns=columns))
    assert method.zeros_beyond_target(weight == 0, point[1], pattern) == sum(surplus)


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 60),
    columns=st.integers(1, 30),
    percent=st.integers(0, 100),
    before=st.sampled_from([0.0, 0.3]),
    spread=st.sampled_from([0.0, 3.0]),
    seed=st.integers(0, 1000),
)
def test_the_order_by_loss_meets_the_oracle(
    width: int, columns: int, percent: int, before: float, spread: float, seed: int
) -> None:
    x, linears, sparsity = inputs(width, seed=seed), weights(6, 3, width=width, seed=seed), percent / 100
    generator = torch.Generator().manual_seed(seed)
    for weight in linears.values():
        weight *= (spread * torch.randn(width, generator=generator)).exp()
        weight[torch.rand(weight.shape, generator=generator) < before] = 0
    H = statistic(x).hessian.numpy()
    pruned = prune(linears, x, sparsity, UNSTRUCTURED, columns=columns, order="loss")
    for name, weight in linears.items():
        order = oracle.rose_order(weight.double().numpy(), H, sparsity, columns)
        W, reordered = weight.double().numpy()[:, order], H[np.ix_(order, order)]
        expected, gone = oracle.prune(W, reordered, sparsity, UNSTRUCTURED, columns=columns)
        result = pruned[name].numpy()[:, order]
        assert np.array_equal(result == 0, gone)
        assert np.allclose(result, expected, rtol=1e-6, atol=1e-7 * max(1, np.abs(expected).max()))


def test_the_order_by_loss_changes_uneven_matrices_only_and_no_groups() -> None:
    x, (even,) = inputs(64), weights(10, width=64).values()
    uneven = even * torch.linspace(0.1, 10, 64)
    for weight, pattern, equal in (
        (even, "unstructured", True),
        (uneven, "unstructured", False),
        (uneven, "2of4", True),
    ):
        natural, ordered = (
            prune({"w": weight}, x, 0.5, parse_pattern(pattern), columns=16, order=order)["w"]
            for order in ("natural", "loss")
        )
        assert torch.equal(natural, ordered) == equal


def test_the_published_code_treats_zeros_as_weights() -> None:
    x, (weight,) = inputs(64), weights(10, width=64).values()
    weight[:, 40:60] = 0
    params = {"selection": "threshold", "dead_inputs": "zeroed", "columns": 16}
    released = prune({"w": weight}, x, 0.1, UNSTRUCTURED, **params)["w"]
    hessian, options = statistic(x).hessian.numpy(), {"threshold": True, "keep_zeros": False, "columns": 16}
    _, gone = oracle.prune(weight.double().numpy(), hessian, 0.1, UNSTRUCTURED, **options)
    assert np.array_equal(released.numpy() == 0, gone) and not gone[:, 40:60].all()


@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_where_all_inputs_are_zero_the_smallest_weights_go(pattern: str, sparsity: float, damping: float) -> None:
    x, linears, shape = torch.zeros(50, 64), weights(12, 5, width=64), parse_pattern(pattern)
    for name, pruned in prune(linears, x, sparsity, shape, damping=damping).items():
        expected = magnitude(linears[name], sparsity, shape)
        assert torch.equal(pruned.float(), expected)


def test_linears_of_a_site_do_not_influence_each_other() -> None:
    x, linears = inputs(48), weights(12, 5, 8, width=48)
    together = SparseGPT().prune_site(
        linears, statistic(x), {"linear0": 0.3, "linear1": 0.9, "linear2": 0.5}, UNSTRUCTURED
    )
    for name, sparsity in (("linear0", 0.3), ("linear1", 0.9), ("linear2", 0.5)):
        alone = prune({name: linears[name]}, x, sparsity, UNSTRUCTURED)[name]
        assert torch.equal(together[name].weight == 0, alone == 0)
        assert torch.allclose(together[name].weight, alone, rtol=1e-10)


@pytest.mark.parametrize("damping", [0.0, 0.01, 1.0])
def test_the_errors_add_up_to_the_loss(damping: float) -> None:
    x, (weight,) = inputs(40), weights(6, width=40).values()
    H = statistic(x).hessian
    pruned, errors = obs.eliminate(
        weight.double().T.contiguous(), obs.inverse_factor(H, damping), 8, lambda _, loss: loss < loss.median()
    )
    change = pruned - weight.double().T
    damped = H + damping * H.diagonal().mean() * torch.eye(40, dtype=torch.float64)
    assert float((change * (damped @ change)).sum()) == pytest.approx(float(errors.square().sum()), rel=1e-9)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize("condition", [1.0, 1e6])
def test_columns_go_all_at_once_as_they_go_one_by_one(
    condition: float, width: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accelerator takes the one form, a processor the other."""
    outputs = 40
    monkeypatch.setattr(obs, "SYSTEMS", width**2 * -(-outputs // parts))
    U = obs.inverse_factor(statistic(inputs(64, condition=condition)).hessian, 0.01)[8 : 8 + width, 8 : 8 + width]
    (start,) = weights(outputs, width=width).values()
    gone = torch.rand(width, outputs) < 0.5
    ends = []
    for eliminated in (obs.one_by_one, obs.all_at_once):
        weight, errors = start.T.double().contiguous(), gone / U.diagonal()[:, None]
        eliminated(weight, errors, U)
        ends.append((weight, errors))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12 * float(one.abs().max()))
    assert not ends[1][1][~gone].any()


@pytest.mark.parametrize("width", [1, 5, 130])
def test_the_factor_is_that_of_the_inverse(width: int) -> None:
    H = statistic(inputs(width)).hessian
    U = obs.inverse_factor(H, 0.01)
    damped = H + 0.01 * H.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    assert torch.equal(U, U.triu())
    assert torch.allclose(U.T @ U @ damped, torch.eye(width, dtype=torch.float64), atol=1e-8)


@pytest.mark.parametrize("pattern", ["unstructured", "2of4"])
def test_tiny_rows_lie_between_the_optimum_and_magnitude(pattern: str) -> None:
    """Half of each row of 8 weights is pruned. The loss is compared with all masks with exact refits, and magnitude."""
    shape = parse_pattern(pattern)
    groups = [range(8)] if pattern == "unstructured" else [range(4), range(4, 8)]
    masks = [
        {j for choice in chosen for j in choice}
        for chosen in itertools.product(*(itertools.combinations(group, 4 // len(groups)) for group in groups))
    ]
    found, optimal, plain = [], [], []
    for seed in range(30):
        x, (row,) = inputs(8, tokens=60, mixing=0.5, seed=seed), weights(1, width=8, seed=seed).values()
        optimal.append(min(_refit_error(x.double(), row.double()[0], mask) for mask in masks))
        found.append(output_error(x, row, prune({"w": row}, x, 0.5, shape, damping=1e-6)["w"]))
        plain.append(output_error(x, row, magnitude(row, 0.5, shape)))
        assert optimal[-1] * (1 - 1e-9) <= found[-1]
    # Row by row magnitude wins now and then: a greedy choice gives no guarantee for 8 weights.
    assert sum(optimal) < sum(found) < sum(plain)
    assert np.median(np.divide(found, optimal)) < 1.5


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("condition", [1.0, 1e10])
@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
def test_never_worse_than_magnitude_with_as_many_zeros(
    pattern: str, sparsity: float, condition: float, seed: int
) -> None:
    """The inputs are as mixed as in real models, because nearly collinear inputs can mislead the greedy choice."""
    x, linears = inputs(64, condition=condition, mixing=0.5, seed=seed), weights(30, width=64, seed=seed)
    shape, weight = parse_pattern(pattern), linears["linear0"]
    pruned = prune(linears, x, sparsity, shape)["linear0"]
    other = magnitude(weight, sparsity, shape)
    assert int((pruned == 0).sum()) == int((other == 0).sum())
    assert output_error(x, weight, pruned) < output_error(x, weight, other)


def magnitude(weight: torch.Tensor, sparsity: float, pattern: Pattern) -> torch.Tensor:
    return Magnitude().prune_site({"w": weight}, SiteStatistic(), {"w": sparsity}, pattern)["w"].weight


def _refit_error(x: torch.Tensor, row: torch.Tensor, mask: set[int]) -> float:
    kept = [j for j in range(len(row)) if j not in mask]
    target = x @ row
    solution = torch.linalg.lstsq(x[:, kept], target[:, None]).solution
    return float((x[:, kept] @ solution - target[:, None]).square().sum())


@pytest.mark.parametrize("dead", ["kept", "zeroed"])
def test_weights_of_dead_inputs_go_first(dead: str) -> None:
    x, linears = inputs(32, dead=3), weights(10, width=32)
    pruned = prune(linears, x, 0.5, UNSTRUCTURED, dead_inputs=dead)["linear0"]
    assert (pruned[:, (x == 0).all(dim=0)] == 0).all()
    assert int((pruned == 0).sum()) == 160


def test_more_dead_inputs_than_the_sparsity_asks_for() -> None:
    x, linears = inputs(32, dead=8), weights(10, width=32)
    kept = prune(linears, x, 0.1, UNSTRUCTURED)["linear0"]
    zeroed = prune(linears, x, 0.1, UNSTRUCTURED, dead_inputs="zeroed")["linear0"]
    assert int((kept == 0).sum()) == 32 and int((zeroed == 0).sum()) == 80


def test_the_published_threshold_takes_one_more_a_strip() -> None:
    x, linears = inputs(64), weights(10, width=64)
    pruned = prune(linears, x, 0.5, UNSTRUCTURED, selection="threshold", columns=16)["linear0"]
    assert int((pruned == 0).sum()) == 320 + 4


def test_nothing_of_a_site_stays_in_memory() -> None:
    """It must not wait for the garbage collector, which counts objects and not their bytes."""
    U = obs.inverse_factor(statistic(inputs(300)).hessian, 0.01)
    held = weakref.ref(U)
    gc.disable()
    try:
        obs.eliminate(torch.randn(300, 8).double(), U, 128, lambda weight, loss: loss < loss.median())
        del U
        assert held() is None
    finally:
        gc.enable()


def test_a_singular_hessian_is_a_failure_with_advice() -> None:
    with pytest.raises(CellFailure, match="raise 'damping'"):
        prune(weights(4, width=16), inputs(16, dead=2), 0.5, UNSTRUCTURED, damping=0)
    broken = inputs(16)
    broken[0, 0] = torch.nan
    with pytest.raises(CellFailure, match="NaN or infinite"):
        prune(weights(4, width=16), broken, 0.5, UNSTRUCTURED)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gram_products_are_as_exact_as_float32(dtype: torch.dtype) -> None:
    x = inputs(500, tokens=900).to(dtype)  # three strips
    exact = x.double().T @ x.double()
    scale = x.double().norm(dim=0)
    assert ((statistic(x).hessian - exact).abs() <= 2e-6 * scale[:, None] * scale).all()


class SolvingDTypes(TorchDispatchMode):
    """Notes the dtypes of products, factors and solutions of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(work in str(func) for work in ("mm", "mv", "cholesky", "solve", "eigh")):
            self.dtypes |= {leaf.dtype for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("order", ["natural", "loss"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_solves_in_one_dtype(dtype: str, order: str) -> None:
    linears = {name: weight * torch.linspace(0.1, 10, 160) for name, weight in weights(20, 9, width=160).items()}
    with SolvingDTypes() as solving:
        prune(linears, inputs(160), 0.5, UNSTRUCTURED, columns=32, solve_dtype=dtype, order=order)
    assert solving.dtypes - {torch.float32} == ({torch.float64} if dtype == "float64" else set())


@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
@pytest.mark.parametrize(("width", "tokens", "dead"), [(160, 300, 0), (272, 300, 7), (160, 40, 0)])
@pytest.mark.parametrize("condition", [1.0, 1e10])
def test_in_float32_it_is_the_oracles_to_five_digits(
    pattern: str, sparsity: float, width: int, tokens: int, dead: int, condition: float
) -> None:
    """The default damping bounds the condition, so this holds whatever the scales of the inputs, and for few tokens."""
    x = inputs(width, tokens, dead=dead, condition=condition)
    linears, shape = weights(40, width=width), parse_pattern(pattern)
    (single,) = prune(linears, x, sparsity, shape, solve_dtype="float32").values()
    (weight,) = linears.values()
    expected, gone = oracle.prune(weight.double().numpy(), statistic(x).hessian.numpy(), sparsity, shape)
    assert np.array_equal(single.numpy() == 0, gone)
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("order", ["natural", "loss"])
def test_float32_bears_inputs_that_depend_on_each_other_with_the_least_damping(order: str) -> None:
    """512 inputs of rank 40: the condition of the damped matrix is near the largest possible."""
    x = inputs(512, tokens=40, condition=1e4)
    weight = weights(16, width=512)["linear0"] * torch.linspace(0.1, 10, 512)  # uneven, so that `loss` reorders it
    results = [
        prune({"w": weight}, x, 0.5, UNSTRUCTURED, damping=SINGLE_DAMPING, solve_dtype=dtype, order=order)["w"]
        for dtype in ("float32", "float64")
    ]
    assert torch.equal(results[0] == 0, results[1] == 0)
    errors = [output_error(x, weight, result) for result in results]
    assert errors[0] == pytest.approx(errors[1], rel=5e-3)


@pytest.mark.parametrize("damping", [0.0, 2.9e-3])
def test_float32_is_refused_with_too_little_damping(damping: float) -> None:
    with pytest.raises(ValueError, match=r"float32 needs 'damping' to be at least 0\.003"):
        SparseGPT.configure(overrides={"damping": damping, "solve_dtype": "float32"})
    SparseGPT.configure(overrides={"damping": damping})


def test_the_spec_says_so_only_if_it_is_float32() -> None:
    specs = [SparseGPT(SparseGPT.Params(solve_dtype=dtype)).params.model_dump() for dtype in ("float64", "float32")]
    assert "solve_dtype" not in specs[0] and specs[1]["solve_dtype"] == "float32"
