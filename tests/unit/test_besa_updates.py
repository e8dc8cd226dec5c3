"""BESA's numerics against the definition, its gradient against finite differences, its budget for any shapes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import besa as oracle
from prunebench.errors import CellFailure
from prunebench.formulas import masks
from prunebench.formulas.budget import fit
from prunebench.methods import besa_learning
from prunebench.methods import besa_updates as updates
from prunebench.methods.besa import Besa
from prunebench.methods.besa_learning import Problem, pruned

shares = st.floats(0, 1, allow_subnormal=False)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**31), st.floats(0, 1), st.booleans())
def test_masks_are_the_oracles(width: int, count: int, seed: int, sparsity: float, smooth: bool) -> None:
    begin, theta = updates.start(sparsity, count), 3 * random(2, count + 1, seed=seed)
    beta = updates.weights(theta, begin, smooth=smooth)
    soft = updates.soft_mask(beta, updates.reach(width, count))
    alpha = beta @ updates.candidates(count)
    zeros = updates.zeros(alpha, width)
    for row in range(2):
        expected = oracle.beta(theta[row].numpy(), begin.numpy(), smooth)
        assert np.allclose(beta[row], expected, atol=1e-12)
        assert np.allclose(soft[row], oracle.soft_mask(expected, width), atol=1e-12)
        assert int(zeros[row]) == oracle.hard_zeros(float(alpha[row]), width)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**31))
def test_the_soft_mask_falls_with_importance_and_spends_the_sparsity(width: int, count: int, seed: int) -> None:
    beta = torch.softmax(random(1, count + 1, seed=seed), 1)
    (soft,) = updates.soft_mask(beta, updates.reach(width, count))
    assert (soft.diff() <= 1e-12).all() and soft.min() >= 0 and soft.max() <= 1 + 1e-12
    # Each candidate prunes p_k of the row, rounded to whole weights.
    assert float(soft.mean()) == pytest.approx(float(beta @ updates.candidates(count)), abs=0.5 / width + 1e-9)


@given(st.integers(1, 50), st.lists(shares, min_size=1, max_size=5))
def test_the_hard_mask_takes_the_nearest_whole_number(width: int, alpha: list[float]) -> None:
    zeros = updates.zeros(torch.tensor(alpha, dtype=torch.float64), width)
    assert (zeros.double() - width * torch.tensor(alpha, dtype=torch.float64)).abs().max() <= 0.5 + 1e-9
    assert int(zeros.min()) >= 0 and int(zeros.max()) <= width


@given(st.integers(2, 200), st.floats(0, 1))
def test_learning_starts_from_the_budget(count: int, sparsity: float) -> None:
    p = updates.candidates(count)
    alpha = float(torch.softmax(updates.start(sparsity, count), 0) @ p)
    assert alpha == pytest.approx(min(max(sparsity, 0.5 / count), 1 - 0.5 / count), abs=1e-9)


def test_half_is_where_the_published_code_starts() -> None:
    assert updates.start(0.5, 100).abs().max() < 1e-12


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**31))
def test_ranks_are_by_score_and_then_by_index(rows: int, width: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (rows, width)).astype(float)
    assert np.array_equal(masks.ranks(torch.from_numpy(scores)).numpy(), oracle.ranks(scores))


def test_ranks_of_wide_rows_fit_their_integers() -> None:
    width = (1 << 15) + 2
    assert masks.ranks(torch.arange(width, 0, -1.0)[None])[0, 0] == width - 1


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("rows", [5, 1])
def test_the_gradient_is_that_of_the_soft_mask_at_the_hard_one(rows: int, smooth: bool) -> None:
    """Finite differences of theta -> soft mask, chained with dL/dw' at the hard mask, against autograd."""
    out, width, count = 5, 9, 7
    weight, inputs = random(out, width, seed=1), random(11, width, seed=2)
    ranks = masks.ranks(random(out, width, seed=3))
    theta, begin = random(rows, count + 1, seed=4).requires_grad_(), updates.start(0.6, count)
    target = random(11, out, seed=5)

    def loss(of: torch.Tensor) -> torch.Tensor:
        return (torch.tanh(inputs @ of.T) - target).square().sum()

    beta = updates.weights(theta, begin, smooth=smooth)
    zeros = updates.zeros((beta @ updates.candidates(count)).detach(), width)
    trial = pruned(weight, beta, ranks, updates.reach(width, count), zeros)
    loss(trial).backward()
    assert theta.grad is not None

    hard = (ranks < zeros[:, None]).double()
    assert torch.equal(trial.detach(), weight * (1 - hard))
    at_hard = trial.detach().requires_grad_()
    (pull,) = torch.autograd.grad(loss(at_hard), at_hard)

    def soft(of: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        by_rank = [oracle.soft_mask(oracle.beta(row, begin.numpy(), smooth), width) for row in of]
        return np.stack([by_rank[i % rows][ranks[i].numpy()] for i in range(out)])

    expected, step, at = np.zeros((rows, count + 1)), 1e-6, theta.detach().numpy()
    for place in np.ndindex(*expected.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        slope = (soft(up) - soft(down)) / (2 * step)
        expected[place] = -(pull * weight).numpy().ravel() @ slope.ravel()
    assert np.abs(expected).max() > 1e-3
    assert np.allclose(theta.grad.numpy(), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_error_is_the_oracles() -> None:
    outputs, target = random(2, 7, 5, seed=1), random(2, 7, 5, seed=2)
    target[..., 3] = 0
    expected = oracle.error(outputs.reshape(14, 5).numpy(), target.reshape(14, 5).numpy())
    assert float(updates.error(outputs, target)) == pytest.approx(expected, rel=1e-5)
    assert float(updates.error(target, target)) == 0


@given(st.lists(st.tuples(st.floats(-2, 2), st.integers(1, 50)), min_size=1, max_size=30), shares)
def test_any_budget_is_met_exactly_and_next_to_the_shifted_wishes(rows: list[tuple[float, int]], share: float) -> None:
    wishes, widths = [wish for wish, _ in rows], [width for _, width in rows]
    total = round(share * sum(widths))
    zeros = updates.exact_zeros(torch.tensor(wishes, dtype=torch.float64), torch.tensor(widths), total)
    assert int(zeros.sum()) == total
    assert all(0 <= count <= width for count, width in zip(zeros.tolist(), widths, strict=True))
    names = {str(i): wish for i, wish in enumerate(wishes)}
    expected = fit(names, {str(i): (1, width) for i, width in enumerate(widths)}, total / sum(widths))
    for count, width, wanted in zip(zeros.tolist(), widths, expected.values(), strict=True):
        assert abs(count - wanted * width) < 1 + 1e-6


class Nowhere:
    """A block whose outputs are not finite once anything is pruned."""

    index, samples = 7, [(0, 0)]

    def weight(self, linear: str) -> torch.Tensor:
        return torch.ones(2, 4)

    def outputs(self) -> list[torch.Tensor]:
        return [torch.ones(1, 3, 2)]

    def forward(self, batch: int, weights: dict[str, torch.Tensor], *, row: int) -> torch.Tensor:
        return torch.full((1, 3, 2), torch.nan) * weights["w"].sum()


def test_a_loss_that_is_not_finite_fails_the_cell() -> None:
    block: Any = Nowhere()
    problem = Problem(block, {"w": masks.ranks(torch.rand(2, 4))}, {}, Besa.Params())
    with pytest.raises(CellFailure, match="NaN or infinite in step 1 of block 7"):
        problem.learn(0.5)


class Linear:
    """A block that is one linear, whose outputs are so large that the gradients of the error are very small."""

    index, samples = 0, [(0, 0)]

    def __init__(self, dtype: torch.dtype) -> None:
        self._weight, self._inputs = (
            (100 * random(24, 24, seed=1)).to(dtype),
            (10 * random(1, 512, 24, seed=2)).to(dtype),
        )

    def weight(self, linear: str) -> torch.Tensor:
        return self._weight

    def outputs(self) -> list[torch.Tensor]:
        return [self._inputs @ self._weight.T]

    def forward(self, batch: int, weights: dict[str, torch.Tensor], *, row: int) -> torch.Tensor:
        return self._inputs @ weights["w"].T


def test_half_precision_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def alpha(dtype: torch.dtype) -> torch.Tensor:
        block: Any = Linear(dtype)
        ranks = masks.ranks(Linear(torch.float32).weight("w").abs().double())
        return Problem(block, {"w": ranks}, {}, Besa.Params(steps=40)).learn(0.5)["w"]

    whole, half = alpha(torch.float32), alpha(torch.float16)
    assert whole.std() > 0.02
    assert float((half - whole).abs().mean()) < 0.2 * float(whole.std())
    # Whose gradients would else be lost.
    monkeypatch.setattr(besa_learning, "SCALE", 1.0)
    assert float((alpha(torch.float16) - whole).abs().mean()) > 0.5 * float(whole.std())
    assert torch.equal(alpha(torch.float32), whole)
