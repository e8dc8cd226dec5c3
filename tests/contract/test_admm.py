"""ADMM and ALPS against their oracles, exact least squares, and what must hold of any run."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.test_sparsegpt import inputs, magnitude, output_error, statistic, weights
from oracles import admm as admm_oracle
from oracles import alps as alps_oracle
from oracles import masks as masks_oracle
from prunebench.engine.contract import Method
from prunebench.errors import CellFailure
from prunebench.formulas import admm
from prunebench.methods.admm import ADMM
from prunebench.methods.alps import ALPS
from prunebench.patterns import UNSTRUCTURED, Pattern, parse_pattern

POINTS = [("unstructured", 0.5), ("unstructured", 0.7), ("2of4", 0.5), ("1of4", 0.75), ("4of8", 0.5)]
METHODS = {"admm": ADMM, "alps": ALPS}


def method(name: str, **params: Any) -> Method:
    plugin = METHODS[name]
    return plugin(plugin.configure(overrides=params))


def prune(
    name: str,
    weight: torch.Tensor,
    x: torch.Tensor,
    sparsity: float,
    pattern: Pattern,
    zeros: torch.Tensor | None = None,
    **params: Any,
) -> torch.Tensor:
    """The pruned weight, float64 [out, in]."""
    given_zeros = None if zeros is None else {"w": zeros}
    result = method(name, **params).prune_site({"w": weight}, statistic(x), {"w": sparsity}, pattern, given_zeros)
    return result["w"].weight.double()


def problem(
    weight: torch.Tensor, x: torch.Tensor, damping: float, sparsity: float, pattern: Pattern
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Any]:
    """Scaled W, A, norms and the choice of weights, in float64."""
    A, norms = admm.normalised(statistic(x).hessian, damping)
    select = partial(admm.lowest, zeros=weight == 0, sparsity=sparsity, pattern=pattern, scope="matrix")
    return weight.double() * norms, A, norms, select


def with_zeros(weight: torch.Tensor, part: float, seed: int = 0) -> torch.Tensor:
    """The weight with about the fraction `part` of zeros."""
    return weight * (torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) >= part)


@pytest.mark.parametrize("part", [0.0, 0.3])
@pytest.mark.parametrize("cubic", [True, False])
@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
def test_admm_equals_the_oracle(pattern: str, sparsity: float, cubic: bool, part: float) -> None:
    x, shape = inputs(32, condition=100.0), parse_pattern(pattern)
    weight = with_zeros(*weights(20, width=32).values(), part)
    W, A, norms, select = problem(weight, x, 0.0, sparsity, shape)
    A.diagonal().add_(0.1)
    ours = admm.gradual(W, W @ A, admm.inverse(A, 1.0), select, rho=1.0, steps=20, ramp=15, cubic=cubic) / norms
    expected, gone = admm_oracle.prune(
        weight.double().numpy(), statistic(x).hessian.numpy(), sparsity, shape, cubic=cubic
    )
    assert np.array_equal(ours.numpy() == 0, gone)
    assert np.allclose(ours.numpy(), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("part", [0.0, 0.3])
@pytest.mark.parametrize("settled", [0.0, 0.0003, 0.02])
@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
def test_alps_equals_the_oracle(pattern: str, sparsity: float, settled: float, part: float) -> None:
    x, shape = inputs(32, condition=100.0), parse_pattern(pattern)
    weight = with_zeros(*weights(20, width=32).values(), part)
    W, A, norms, select = problem(weight, x, 0.01, sparsity, shape)
    spectrum = torch.linalg.eigh(A)
    pruned, gone, steps = admm.search_support(W, A, spectrum, select, rho=0.1, steps=300, settled=settled)
    ours = admm.refine(pruned, W @ A, A, gone, 10) / norms
    expected, gone_there, steps_there = alps_oracle.prune(
        weight.double().numpy(), statistic(x).hessian.numpy(), sparsity, shape, settled=settled
    )
    assert steps == steps_there < 300
    assert np.array_equal(gone.numpy(), gone_there)
    assert np.allclose(ours.numpy(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
@pytest.mark.parametrize("name", METHODS)
def test_float32_costs_no_accuracy(name: str, pattern: str, sparsity: float) -> None:
    """The methods iterate in float32, where few weights may change places."""
    x, shape = inputs(96, tokens=400, condition=1e4), parse_pattern(pattern)
    (weight,) = weights(40, width=96).values()
    oracle = {"admm": admm_oracle, "alps": alps_oracle}[name]
    expected = torch.from_numpy(oracle.prune(weight.double().numpy(), statistic(x).hessian.numpy(), sparsity, shape)[0])
    ours = prune(name, weight, x, sparsity, shape)
    assert ((ours == 0) != (expected == 0)).double().mean() < 0.01
    assert output_error(x, weight, ours) == pytest.approx(output_error(x, weight, expected), rel=0.02)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(METHODS)),
    width=st.integers(1, 12).map(lambda groups: 4 * groups),
    out=st.integers(1, 8),
    point=st.sampled_from([("unstructured", s) for s in (0.0, 0.29, 0.5, 0.83, 1.0)] + [("2of4", 0.5), ("1of4", 0.75)]),
    before=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    dead=st.integers(0, 4),
    tokens=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_numbers_of_zeros_are_exact_and_zeros_stay(
    name: str, width: int, out: int, point: tuple[str, float], before: float, dead: int, tokens: int, seed: int
) -> None:
    x, pattern = inputs(width, tokens=tokens, dead=dead, seed=seed), parse_pattern(point[0])
    weight = with_zeros(*weights(out, width=width, seed=seed).values(), before, seed)
    pruned = prune(name, weight, x, point[1], pattern)
    assert pruned.isfinite().all() and (pruned[weight == 0] == 0).all()
    had, have = (
        masks_oracle.units(matrix.numpy(), "groups" if pattern.structured else "matrix", pattern.group)
        for matrix in (weight, pruned)
    )
    for old, new in zip(had, have, strict=True):
        asked = pattern.group - pattern.keep if pattern.structured else masks_oracle.nearest(old.size, str(point[1]))
        assert int((new == 0).sum()) == max(asked, int((old == 0).sum()))


@pytest.mark.parametrize("name", METHODS)
def test_a_linear_with_enough_zeros_does_not_change(name: str) -> None:
    (weight,) = weights(6, width=16).values()
    weight[:, ::2] = 0
    for pattern, sparsity in (("unstructured", 0.5), ("unstructured", 0.0), ("2of4", 0.5)):
        assert torch.equal(prune(name, weight, inputs(16), sparsity, parse_pattern(pattern)), weight.double())


def exact(weight: torch.Tensor, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Least squares on the kept weights, row by row."""
    solution = torch.zeros_like(weight, dtype=torch.float64)
    for row, places in enumerate(kept):
        target = x.double() @ weight[row].double()
        solution[row, places] = torch.linalg.lstsq(x.double()[:, places], target[:, None]).solution[:, 0]
    return solution


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
@pytest.mark.parametrize(("name", "params", "factor"), [
    ("admm", {}, 1.05),
    ("admm", {"steps": 200}, 1.0001),
    ("alps", {"refinement": 0}, 1.2),
    ("alps", {}, 1.02),
    ("alps", {"refinement": 100}, 1.00001),
])  # fmt: skip
def test_it_comes_near_least_squares_on_what_it_kept(
    name: str, params: dict[str, Any], factor: float, pattern: str, sparsity: float, seed: int
) -> None:
    x, (weight,) = inputs(16, mixing=1.0, seed=seed), weights(6, width=16, seed=seed).values()
    pruned = prune(name, weight, x, sparsity, parse_pattern(pattern), damping=0, **params)
    best = output_error(x, weight, exact(weight, x, pruned != 0))
    assert best * (1 - 1e-9) <= output_error(x, weight, pruned) <= best * factor


@pytest.mark.parametrize(("name", "params"), [("admm", {"steps": 300}), ("alps", {"refinement": 60})])
def test_sparse_weights_come_back_from_dense_ones_with_the_same_outputs(name: str, params: dict[str, Any]) -> None:
    """The inputs span half of their space, so weights that are dense may have the outputs of sparse ones."""
    generator = torch.Generator().manual_seed(0)
    (sparse,) = weights(5, width=32).values()
    gone = torch.rand(sparse.shape, generator=generator).argsort(dim=1) < 24
    sparse[gone] = 0
    x = torch.randn(200, 16, generator=generator) @ torch.randn(16, 32, generator=generator) / 4
    unseen = torch.linalg.svd(x, full_matrices=True).Vh[16:]
    dense = sparse + torch.randn(5, 16, generator=generator) @ unseen / 4
    assert output_error(x, sparse, dense) < 1e-6 and dense.all()
    pruned = prune(name, dense, x, 0.75, UNSTRUCTURED, gone, damping=1e-6, **params)
    assert (pruned[gone] == 0).all()
    assert torch.allclose(pruned, sparse.double(), atol=0.02)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("pattern", "sparsity"), POINTS)
def test_where_all_inputs_are_zero_the_smallest_weights_go(pattern: str, sparsity: float, name: str) -> None:
    (weight,), shape = weights(12, width=64).values(), parse_pattern(pattern)
    pruned = prune(name, weight, torch.zeros(50, 64), sparsity, shape)
    assert torch.allclose(pruned.float(), magnitude(weight, sparsity, shape), rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_weights_of_dead_inputs_stay_or_go_but_do_not_change(name: str) -> None:
    x, (weight,) = inputs(32, dead=8), weights(10, width=32).values()
    dead = (x == 0).all(dim=0)
    pruned = prune(name, weight, x, 0.1, UNSTRUCTURED)[:, dead]
    assert (pruned == 0).any()
    assert torch.allclose(pruned[pruned != 0], weight[:, dead][pruned != 0].double(), rtol=1e-4)


def test_linears_of_a_site_do_not_influence_each_other() -> None:
    x, linears = inputs(48), weights(12, 5, width=48)
    for name in METHODS:
        shares = {"linear0": 0.3, "linear1": 0.9}
        together = method(name).prune_site(linears, statistic(x), shares, UNSTRUCTURED)
        for linear, share in shares.items():
            assert torch.equal(together[linear].weight, prune(name, linears[linear], x, share, UNSTRUCTURED))


@pytest.mark.parametrize("power", [-120, 120])
@pytest.mark.parametrize("name", METHODS)
def test_weights_may_be_of_any_size(name: str, power: int) -> None:
    """The squares of such weights are out of the range of float32."""
    x, (weight,) = inputs(48), weights(12, width=48).values()
    factor = 2.0**power
    pruned = prune(name, weight * factor, x, 0.5, UNSTRUCTURED)
    assert torch.equal(pruned / factor, prune(name, weight, x, 0.5, UNSTRUCTURED))


def test_the_mask_of_admm_grows_along_its_ramp() -> None:
    x, (weight,) = inputs(32), weights(20, width=32).values()
    W, A, _, select = problem(weight, x, 0.0, 0.5, UNSTRUCTURED)
    counts = []

    def counting(values: torch.Tensor, part: float) -> torch.Tensor:
        gone = select(values, part)
        counts.append(int(gone.sum()))
        return gone

    admm.gradual(W, W @ A, admm.inverse(A, 1.0), counting, rho=1.0, steps=6, ramp=4)
    assert counts == [185, 280, 315, 320]  # 320 (1 - (1 - i / 4)^3)


@pytest.mark.parametrize(("pattern", "part"), [("unstructured", 1.0), ("unstructured", 0.2), ("2of4", 0.2)])
def test_all_zeros_go_however_few_weights_should(pattern: str, part: float) -> None:
    zeros = torch.tensor([[True, True, True, False, False, False, False, True]])
    gone = admm.lowest(torch.ones(1, 8), part, zeros=zeros, sparsity=0.25, pattern=parse_pattern(pattern), scope="row")
    assert torch.equal(gone, zeros)


@pytest.mark.parametrize("name", METHODS)
def test_a_gram_matrix_with_nan_is_a_failure(name: str) -> None:
    broken = inputs(16)
    broken[0, 0] = torch.nan
    with pytest.raises(CellFailure):
        prune(name, weights(4, width=16)["linear0"], broken, 0.5, UNSTRUCTURED)


def test_a_singular_gram_matrix_without_damping_is_solved() -> None:
    """The penalty rho makes the systems regular."""
    x, (weight,) = inputs(32, tokens=8), weights(10, width=32).values()
    for name in METHODS:
        pruned = prune(name, weight, x, 0.5, UNSTRUCTURED, damping=0)
        assert output_error(x, weight, pruned) < 0.1 * output_error(x, weight, magnitude(weight, 0.5, UNSTRUCTURED))
