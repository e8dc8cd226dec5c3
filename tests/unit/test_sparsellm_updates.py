"""SparseLLM's updates against numerical optima, and that no update ever raises the objective."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, optimize

from oracles import sparsellm as oracle
from oracles.sparsellm import Array, Ffn, Penalties
from prunebench.errors import CellFailure
from prunebench.methods import sparsellm_updates as updates

BY = Penalties(alpha=0.7, beta=3.0, gamma=1.9)
SILU = updates.smooth(torch.nn.functional.silu)


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape) * scale


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def least_squares(residuals: Callable[[Array], Array], start: Array) -> Array:
    """The numerical optimum of a sum of squares, of the shape of `start`."""
    found = optimize.least_squares(
        lambda flat: residuals(flat.reshape(start.shape)).ravel(), start.ravel(), xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    return np.asarray(found.x.reshape(start.shape))


def elementwise_optimum(loss: Callable[[Array, int], Array], count: int, width: float = 30.0) -> Array:
    """The least of `loss(x, i)` over x for every element i: from a grid, then by Brent's method around its best."""
    grid = np.append(np.linspace(-width, width, 4001), 0)
    best = []
    for i in range(count):
        around = grid[np.argmin(loss(grid, i))]
        found = optimize.minimize_scalar(
            loss, bounds=(around - 0.02, around + 0.02), args=(i,), method="bounded", options={"xatol": 1e-10}
        )
        best.append(found.x if found.fun < loss(around, i) else around)
    return np.array(best)


@pytest.mark.parametrize("ridge", [1e-6, 0.01, 3.0])
def test_refit_is_the_optimum_of_ridge_regression(ridge: float) -> None:
    X, T = draw(5, 40), draw(3, 40)
    gram = X @ X.T
    weak = np.sqrt(ridge * np.mean(np.diag(gram)))
    expected = least_squares(lambda W: np.hstack([T - W @ X, weak * W]), np.zeros((3, 5)))
    found = updates.refit(tensor(T @ X.T), tensor(gram), ridge)
    assert np.allclose(found.numpy(), expected, rtol=1e-6, atol=1e-7)


def test_refit_without_ridge_fails_where_inputs_depend_on_each_other() -> None:
    X = draw(5, 40)
    X[4] = 0
    with pytest.raises(CellFailure, match="not positive definite"):
        updates.refit(tensor(draw(3, 5)), tensor(X @ X.T), 0.0)


@pytest.mark.parametrize("rank", [6, 4])
def test_refit_by_rank_is_the_least_of_the_optima(rank: int) -> None:
    """The refit uses a pseudo-inverse as scipy cuts it. No weights do better, and no smaller weights do as well."""
    X, T = draw(6, rank) @ draw(rank, 50), draw(3, 50)
    X += 1e-7 * draw(6, 50, seed=1)
    found = updates.refit_by_rank(tensor(T @ X.T), tensor(X @ X.T), 1e-4).numpy()
    assert np.allclose(found, T @ linalg.pinv(X, rtol=1e-4), rtol=1e-7, atol=1e-9)
    directions = np.linalg.svd(X)[0][:, :rank]
    optimum = least_squares(lambda A: T - A @ directions.T @ X, np.zeros((3, rank))) @ directions.T
    assert np.allclose(found, optimum, rtol=1e-6, atol=1e-8)


def test_refit_by_gradient_is_descent_on_the_mean_squared_error() -> None:
    X, T = draw(5, 40), draw(3, 40)
    W = torch.from_numpy(draw(3, 5)).requires_grad_()
    start = W.detach().clone()
    optimiser = torch.optim.SGD([W], lr=0.01)
    for _ in range(10):
        optimiser.zero_grad()
        (W @ torch.from_numpy(X) - torch.from_numpy(T)).square().mean().backward()
        optimiser.step()
    found = updates.refit_by_gradient(start, tensor(T @ X.T), tensor(X @ X.T), 40, steps=10, rate=0.01)
    torch.testing.assert_close(found, W.detach(), rtol=1e-12, atol=0)


def woodbury(ffn: Ffn, Y: Array, z: Array, s: Array | None, by: Penalties) -> Array:
    """p as the sweep computes it."""
    r, W = middle(z, s), tensor(ffn.down)
    u = updates.output_solver(W, by.gamma / by.beta) @ (tensor(Y - ffn.down_bias) - W @ r)
    return (r + W.T @ u).numpy()


def middle(z: Array, s: Array | None) -> torch.Tensor:
    return tensor(oracle.middle(z, s))


@pytest.mark.parametrize("gated", [True, False])
def test_p_is_the_optimum(gated: bool) -> None:
    ffn = Ffn(draw(9, 4), draw(4, 9), draw(9, 4, seed=1) if gated else None, down_bias=draw(4, 1))
    Y, z, s = draw(4, 6), draw(9, 6), draw(9, 6, seed=1) if gated else None
    r = oracle.middle(z, s)
    expected = least_squares(
        lambda p: np.vstack(
            [np.sqrt(BY.beta) * (Y - ffn.down_bias - ffn.down @ p), np.sqrt(BY.gamma) * (p - r)],
        ),
        np.zeros((9, 6)),
    )
    found = woodbury(ffn, Y, z, s, BY)
    assert np.allclose(found, oracle.update_p(ffn, Y, z, s, BY), rtol=1e-11, atol=1e-12)
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_weights_that_are_not_finite_have_no_p() -> None:
    with pytest.raises(CellFailure, match="not finite"):
        updates.output_solver(tensor(np.full((3, 5), np.nan)), 1.0)


def test_gated_z_is_the_optimum() -> None:
    m, p, s = draw(60, scale=2), draw(60, seed=1, scale=3), draw(60, seed=2, scale=2)
    a = oracle.silu(s)
    expected = elementwise_optimum(lambda z, i: BY.alpha * (z - m[i]) ** 2 + BY.gamma * (p[i] - a[i] * z) ** 2, 60)
    found = updates.update_z(tensor(m), tensor(a), tensor(p), BY.alpha, BY.gamma)
    assert np.allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("by", [BY, Penalties(5.0, 1.0, 0.2), Penalties(0.1, 1.0, 8.0)])
def test_relu_z_is_the_optimum(by: Penalties) -> None:
    m, p = draw(200, scale=2), draw(200, seed=1, scale=2)

    def loss(z: Array, i: int | slice) -> Array:
        return np.asarray(by.alpha * (z - m[i]) ** 2 + by.gamma * (p[i] - oracle.relu(z)) ** 2)

    expected = elementwise_optimum(loss, 200, width=10)
    found = updates.update_z_relu(tensor(m), tensor(p), by.alpha, by.gamma).numpy()
    everything = slice(None)
    assert (loss(found, everything) <= loss(expected, everything) + 1e-9).all()
    assert np.allclose(found, expected, atol=1e-5)
    assert {True, False} == set(found > 0), "both sides must come up"


def s_problem(count: int, scale: float, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """The variables (s, g, z, p) of a problem whose g and p differ from those that s and z imply."""
    s, z = draw(count, seed=seed, scale=scale), draw(count, seed=seed + 1, scale=scale)
    g = s + draw(count, seed=seed + 2, scale=0.5 * scale)
    p = oracle.silu(s) * z + draw(count, seed=seed + 3, scale=0.5 * scale)
    return tensor(s), tensor(g), tensor(z), tensor(p)


def s_loss(s: torch.Tensor, g: torch.Tensor, z: torch.Tensor, p: torch.Tensor, by: Penalties) -> torch.Tensor:
    return by.alpha * (s - g).square() + by.gamma * (p - torch.nn.functional.silu(s) * z).square()


def newton(s: torch.Tensor, g: torch.Tensor, z: torch.Tensor, p: torch.Tensor, by: Penalties, n: int) -> torch.Tensor:
    return updates.update_s(s, g, z, p, SILU, by.alpha, by.gamma, steps=n)


def test_many_newton_steps_end_where_the_slope_is_0() -> None:
    """The slope is not 0 at a few elements, here one in a hundred, at which the undamped steps go round in circles."""
    s, g, z, p = s_problem(3000, 1.0)
    found = newton(s, g, z, p, BY, 200).requires_grad_()
    (slope,) = torch.autograd.grad(s_loss(found, g, z, p, BY).sum(), found)
    assert (slope.abs() < 1e-6).double().mean() > 0.99


@settings(deadline=None, max_examples=60)
@given(
    scale=st.floats(-2, 3).map(lambda power: 10.0**power),
    alpha=st.floats(-2, 2).map(lambda power: 10.0**power),
    gamma=st.floats(-2, 2).map(lambda power: 10.0**power),
    steps=st.integers(0, 6),
    seed=st.integers(0, 1000),
)
def test_newton_steps_never_end_above_their_start(
    scale: float, alpha: float, gamma: float, steps: int, seed: int
) -> None:
    by = Penalties(alpha, 1.0, gamma)
    s, g, z, p = s_problem(50, scale, seed)
    before, after = s_loss(s, g, z, p, by), s_loss(newton(s, g, z, p, by, steps), g, z, p, by)
    assert (after <= before * (1 + 1e-12)).all()


def test_two_newton_steps_go_almost_all_the_way() -> None:
    """On an FFN that has lost half of its weights, two steps leave a thousandth of the gain of fifty steps."""
    X, ffn = draw(32, 400), Ffn(draw(96, 32, scale=0.2), draw(32, 96, scale=0.1), draw(96, 32, seed=1, scale=0.2))
    pruned = Ffn(*(np.where(np.abs(w) > np.median(np.abs(w)), w, 0) for w in (ffn.up, ffn.down, ffn.gate)))
    by = Penalties(5, 5, 5)
    z, s = ffn.pre(X)
    p = oracle.update_p(pruned, ffn(X), z, s, by)
    m, g = pruned.pre(X)
    z = oracle.update_z(m, s, p, by)
    problem = tuple(map(tensor, (g, z, p)))
    start, two, many = (
        float(s_loss(moved, *problem, by).sum())
        for moved in (tensor(s), newton(tensor(s), *problem, by, 2), newton(tensor(s), *problem, by, 50))
    )
    assert start > 1.5 * many
    assert two - many < 1e-3 * (start - many)


def test_gradient_steps_are_those_of_the_released_code() -> None:
    s, g, z, p = s_problem(200, 1.0)
    found = updates.update_s_by_gradient(s, g, z, p, SILU, BY.alpha, BY.gamma, steps=2, rate=0.01)
    expected = oracle.update_s_by_gradient(*(part.numpy() for part in (s, g, z, p)), BY)
    assert np.allclose(found.numpy(), expected, rtol=1e-12)
    moved = s.clone().requires_grad_()
    for _ in range(2):
        (slope,) = torch.autograd.grad(s_loss(moved, g, z, p, BY).sum(), moved)
        moved = (moved - 0.01 * slope).detach().requires_grad_()
    torch.testing.assert_close(found, moved.detach(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "activation", [torch.nn.functional.silu, torch.nn.SiLU(), torch.nn.functional.gelu, torch.nn.functional.relu]
)
def test_slopes_are_derivatives(activation: updates.Activation) -> None:
    x = torch.linspace(-9, 9, 400, dtype=torch.float64).requires_grad_()
    value, slope = updates.smooth(activation)(x.detach())
    (expected,) = torch.autograd.grad(activation(x).sum(), x)
    torch.testing.assert_close(value, activation(x.detach()), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(slope, expected, rtol=1e-10, atol=1e-12)


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_the_objective_never_rises(data: st.DataObject) -> None:
    """p, then z, then s, for weights of any kind, from any start; three rounds."""
    hidden, width, tokens = (
        data.draw(st.integers(1, most), name) for most, name in ((6, "hidden"), (9, "ffn"), (7, "n"))
    )
    powers = st.floats(-2, 2).map(lambda power: 10.0**power)
    by = Penalties(data.draw(powers, "alpha"), data.draw(powers, "beta"), data.draw(powers, "gamma"))
    gated, seed = data.draw(st.booleans(), "gated"), data.draw(st.integers(0, 10_000), "seed")
    scale = data.draw(powers, "scale")
    gate = draw(width, hidden, seed=seed + 1) if gated else None
    biases = {} if gated else {"up_bias": draw(width, 1, seed=seed), "down_bias": draw(hidden, 1, seed=seed)}
    ffn = Ffn(draw(width, hidden, seed=seed), draw(hidden, width, seed=seed), gate, **biases)
    X, Y = draw(hidden, tokens, seed=seed, scale=scale), draw(hidden, tokens, seed=seed + 1, scale=scale)
    z, p = draw(width, tokens, seed=seed, scale=scale), draw(width, tokens, seed=seed + 1, scale=scale)
    s = draw(width, tokens, seed=seed + 2, scale=scale) if gated else None
    m, g = ffn.pre(X)
    losses = [sum(oracle.terms(ffn, X, Y, p, z, s, by).values())]
    for _ in range(3):
        p = woodbury(ffn, Y, z, s, by)
        losses.append(sum(oracle.terms(ffn, X, Y, p, z, s, by).values()))
        if s is None or g is None:
            z = updates.update_z_relu(tensor(m), tensor(p), by.alpha, by.gamma).numpy()
        else:
            z = updates.update_z(tensor(m), tensor(oracle.silu(s)), tensor(p), by.alpha, by.gamma).numpy()
        losses.append(sum(oracle.terms(ffn, X, Y, p, z, s, by).values()))
        if s is not None and g is not None:
            s = newton(tensor(s), tensor(g), tensor(z), tensor(p), by, 2).numpy()
            losses.append(sum(oracle.terms(ffn, X, Y, p, z, s, by).values()))
    # The losses themselves are sums that round.
    assert all(after <= before * (1 + 1e-10) for before, after in itertools.pairwise(losses))
