"""Allocators against the float64 oracles, on random matrices of any shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oracles import allocators as oracle
from prunebench.allocators.alphapruning import AlphaPruning, alpha_fitted, alpha_from_peak, scaled, spectrum
from prunebench.allocators.atp import Atp
from prunebench.allocators.base import check_budget
from prunebench.allocators.dlp import Dlp
from prunebench.allocators.er import Er, erdos_renyi
from prunebench.allocators.er_plus import ErPlus
from prunebench.errors import CellFailure
from prunebench.formulas.thresholds import at_ranks, shares_below
from prunebench.registry import load

SPARSITIES = st.floats(0, 1)
SEEDS = st.integers(0, 2**31)


@dataclass
class Matrices:
    """The part of an anatomy that allocators use, for matrices in memory."""

    weights: dict[str, torch.Tensor]
    norms: dict[str, torch.Tensor]
    blocks: list[tuple[str, ...]]

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        return {linear: tuple(weight.shape) for linear, weight in self.weights.items()}

    @property
    def prunable_weights(self) -> int:
        return sum(weight.numel() for weight in self.weights.values())

    def weight(self, linear: str) -> torch.Tensor:
        return self.weights[linear]

    def squared_norm(self, linear: str) -> torch.Tensor:
        return self.norms[linear]

    def scores(self, linears: tuple[str, ...]) -> list[np.ndarray]:
        """The scores of Wanda."""
        return [np.abs(self.weights[name].double().numpy()) * np.sqrt(self.norms[name].numpy()) for name in linears]

    def weights_by_block(self) -> list[int]:
        return [sum(self.weights[linear].numel() for linear in linears) for linears in self.blocks]


def matrices(shapes: list[list[tuple[int, int]]], seed: int, dtype: torch.dtype = torch.bfloat16) -> Matrices:
    """Random matrices whose scale differs from block to block, with inputs of different norms, of which some are 0."""
    generator = torch.Generator().manual_seed(seed)
    weights, norms, blocks = {}, {}, []
    for b, block in enumerate(shapes):
        scale = float(torch.rand((), generator=generator)) + 0.1
        blocks.append(tuple(f"{b}.{i}" for i in range(len(block))))
        for linear, (out, width) in zip(blocks[-1], block, strict=True):
            weights[linear] = (scale * torch.randn(out, width, generator=generator)).to(dtype)
            norms[linear] = torch.randn(width, generator=generator, dtype=torch.float64).square()
            norms[linear][torch.rand(width, generator=generator) < 0.05] = 0
    return Matrices(weights, norms, blocks)


def models(smallest: int = 1, blocks: int = 1) -> st.SearchStrategy[Matrices]:
    """Models of at least so many blocks, of matrices with sides of at least `smallest`."""
    side = st.integers(smallest, 12)
    block = st.lists(st.tuples(side, side), min_size=1, max_size=3)
    return st.builds(matrices, st.lists(block, min_size=blocks, max_size=5), SEEDS)


def of_blocks(model: Matrices, values: Any) -> dict[str, float]:
    """The value of its block for every linear."""
    return {linear: float(value) for value, linears in zip(values, model.blocks, strict=True) for linear in linears}


@pytest.mark.parametrize("name", ["alphapruning", "atp", "dlp", "er", "global", "global_magnitude"])
@settings(max_examples=60, deadline=None)
@given(model=models(smallest=3), sparsity=SPARSITIES)
def test_any_shapes_stay_within_bounds_and_on_budget(name: str, model: Matrices, sparsity: float) -> None:
    plugin = load("allocators", name)
    for preset in plugin.presets:
        allocation = plugin(plugin.configure(preset)).allocate(model, sparsity)
        assert list(allocation) == list(model.sizes)
        check_budget(allocation, model.sizes, sparsity)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 5e-324, 1e-300, 1.0, 1 + 1e-12, 1.001, 3.0, 1e150]), min_size=1), min_size=1
    ),
    st.data(),
)
def test_ranks_are_those_of_a_sort(rows: list[list[float]], data: st.DataObject) -> None:
    """The scores have ties, differences in their last bits only, and all orders of magnitude."""
    scores = {str(i): torch.tensor(row, dtype=torch.float64)[:, None] for i, row in enumerate(rows)}
    everything = sorted(score for row in rows for score in row)
    low = data.draw(st.integers(0, len(everything) - 1))
    high = data.draw(st.integers(low, len(everything) - 1))
    assert at_ranks(scores.__getitem__, list(scores), low, high) == (everything[low], everything[high])
    sizes = {name: tuple(score.shape) for name, score in scores.items()}
    sparsity = data.draw(SPARSITIES)
    shares = shares_below(scores.__getitem__, sizes, sparsity)
    expected = oracle.one_threshold({name: score.numpy() for name, score in scores.items()}, sparsity)
    assert shares == pytest.approx(expected, abs=1e-9)
    assert all(-1e-12 <= share <= 1 + 1e-12 for share in shares.values())


@settings(max_examples=60, deadline=None)
@given(model=models(), sparsity=SPARSITIES)
def test_global_equals_its_formula(model: Matrices, sparsity: float) -> None:
    names = tuple(model.sizes)
    wanda = dict(zip(names, model.scores(names), strict=True))
    magnitude = {name: model.weights[name].double().abs().numpy() for name in names}
    for allocator, scores in (("global", wanda), ("global_magnitude", magnitude)):
        allocation = load("allocators", allocator)().allocate(model, sparsity)
        assert allocation == pytest.approx(oracle.one_threshold(scores, sparsity), abs=1e-9)


def test_one_threshold_of_different_scales_empties_the_small_ones() -> None:
    model = matrices([[(8, 8)], [(8, 8)], [(8, 8)]], seed=0)
    for name, scale in (("0.0", 1e-6), ("2.0", 1e6)):
        model.weights[name] = (model.weights[name].sign() * scale).bfloat16()
    allocation = load("allocators", "global_magnitude")().allocate(model, 0.5)
    assert allocation == pytest.approx({"0.0": 1.0, "1.0": 0.5, "2.0": 0.0}, abs=1e-12)
    # A third of all is a tie of one linear; half of it gives each of its weights as much.
    assert load("allocators", "global_magnitude")().allocate(model, 1 / 6)["0.0"] == pytest.approx(0.5)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("name", ["global", "global_magnitude", "dlp", "alphapruning"])
def test_weights_that_are_not_finite_fail_the_cell(name: str, value: float) -> None:
    """An infinite weight whose input is always 0 has the score NaN, to which the processor gives a sign."""
    model = matrices([[(8, 8)], [(8, 8)]], seed=0)
    model.weights["1.0"][3, 3] = value
    plugin = load("allocators", name)
    for norm in (0.0, 1.0):
        model.norms["1.0"][3] = norm
        for preset in plugin.presets:
            with pytest.raises(CellFailure, match="not finite"):
                plugin(plugin.configure(preset)).allocate(model, 0.5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=12), SPARSITIES)
def test_er_equals_its_formula(shapes: list[tuple[int, int]], sparsity: float) -> None:
    sizes = {str(i): shape for i, shape in enumerate(shapes)}
    assert erdos_renyi(sizes, sparsity) == pytest.approx(oracle.erdos_renyi(sizes, sparsity), abs=1e-9)


def test_er_cuts_at_dense_and_solves_again() -> None:
    """Half of 64 x 64, 4 x 4 and 4 x 16 is 2088 weights: the small ones stay dense, the large one keeps the rest."""
    model = matrices([[(64, 64), (4, 4)], [(4, 16)]], seed=0)
    large = 1 - (4176 / 2 - 16 - 64) / 4096
    assert Er().allocate(model, 0.5) == pytest.approx({"0.0": large, "0.1": 0.0, "1.0": 0.0}, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(model=models(blocks=2), sparsity=SPARSITIES)
def test_er_plus_keeps_the_last_dense_or_says_that_it_cannot(model: Matrices, sparsity: float) -> None:
    last = model.blocks[-1][-1]
    others = {linear: size for linear, size in model.sizes.items() if linear != last}
    weights = sum(out * width for out, width in others.values())
    needed = sparsity * model.prunable_weights / weights
    assume(abs(needed - 1) > 1e-9)
    if needed > 1:
        with pytest.raises(CellFailure, match=rf"the budget keeps .* {last}, which ER-plus keeps dense"):
            ErPlus().allocate(model, sparsity)
    else:
        allocation = ErPlus().allocate(model, sparsity)
        assert list(allocation) == list(model.sizes)
        assert allocation.pop(last) == 0
        assert allocation == pytest.approx(oracle.erdos_renyi(others, needed), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    model=models(blocks=2),
    sparsity=st.floats(0.3, 0.7),
    alpha=st.floats(0, 0.15),
    statistic=st.sampled_from(["median", "mean"]),
)
def test_dlp_equals_its_formula(model: Matrices, sparsity: float, alpha: float, statistic: str) -> None:
    blocks = [np.concatenate([scores.ravel() for scores in model.scores(linears)]) for linears in model.blocks]
    typical = [getattr(np, statistic)(scores) for scores in blocks]
    assume(max(typical) > min(typical) * (1 + 1e-6))
    expected = oracle.dlp(blocks, model.weights_by_block(), sparsity, alpha, statistic)
    allocation = Dlp(Dlp.Params(alpha=alpha, statistic=statistic)).allocate(model, sparsity)
    assert allocation == pytest.approx(of_blocks(model, expected), abs=1e-8)


def test_dlp_keeps_blocks_of_low_scores_dense() -> None:
    model = matrices([[(8, 8)]] * 3, seed=0)
    for block, scale in enumerate((3.0, 1.0, 2.0)):
        model.weights[f"{block}.0"] = torch.full((8, 8), scale)
        model.norms[f"{block}.0"] = torch.ones(8, dtype=torch.float64)
    assert Dlp().allocate(model, 0.6) == pytest.approx({"0.0": 0.75, "1.0": 0.45, "2.0": 0.6})
    for linear in model.weights:
        model.weights[linear] = torch.zeros(8, 8)
    assert Dlp().allocate(model, 0.6) == pytest.approx(dict.fromkeys(model.weights, 0.6))


def test_dlps_presets_are_the_median_of_the_paper_and_the_mean_of_its_code() -> None:
    model = matrices([[(9, 8), (3, 5)], [(8, 8)], [(4, 7)]], seed=3)
    blocks = [np.concatenate([scores.ravel() for scores in model.scores(linears)]) for linears in model.blocks]
    for preset, statistic in (("paper", "median"), ("released", "mean")):
        expected = oracle.dlp(blocks, model.weights_by_block(), 0.5, 0.15, statistic)
        allocation = Dlp(Dlp.configure(preset)).allocate(model, 0.5)
        assert allocation == pytest.approx(of_blocks(model, expected), abs=1e-9)


@pytest.mark.parametrize("blocks", [2, 5, 30])
@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.7, 0.95])
def test_atp_equals_its_formula(blocks: int, sparsity: float) -> None:
    model = matrices([[(4, 6), (3, 4)]] * blocks, seed=0)
    for slope in (None, 0.0, 0.002):
        allocation = Atp(Atp.Params(slope=slope)).allocate(model, sparsity)
        expected = oracle.atp(blocks, sparsity, slope)
        assert min(expected) > 0 and max(expected) < 1
        assert allocation == pytest.approx(of_blocks(model, expected), abs=1e-12)


def test_atp_of_one_block_and_of_too_steep_a_slope() -> None:
    assert Atp().allocate(matrices([[(4, 6)]], seed=0), 0.7) == {"0.0": pytest.approx(0.7)}
    model = matrices([[(4, 6)]] * 5, seed=0)
    allocation = Atp(Atp.Params(slope=10)).allocate(model, 0.7)
    assert list(allocation.values()) == pytest.approx([0, 0.5, 1, 1, 1])


@settings(max_examples=60, deadline=None)
@given(
    out=st.integers(2, 40), width=st.integers(2, 40), zero_rows=st.integers(0, 3), scale=st.floats(0.01, 10), seed=SEEDS
)
def test_alphas_equal_their_formulas(out: int, width: int, zero_rows: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, width, generator=generator, dtype=torch.float64) * scale
    # Columns of different size: a spectrum with a tail.
    weight *= torch.randn(width, generator=generator, dtype=torch.float64).exp()
    weight = torch.cat([weight, torch.zeros(zero_rows, width, dtype=torch.float64)])
    values = spectrum(weight, "name")
    singular = np.linalg.svd(weight.numpy(), compute_uv=False)[: min(out, width)]
    assume(singular.min() > 1e-5 * singular.max())
    assert values.numpy() == pytest.approx(np.sort(singular**2), rel=1e-4)
    assert alpha_from_peak(values) == pytest.approx(oracle.alpha_hill(weight.numpy()), rel=1e-5)
    assert alpha_fitted(values) == pytest.approx(oracle.alpha_fitted(weight.numpy()), rel=1e-5)
    assert alpha_from_peak(spectrum(weight.T, "name")) == pytest.approx(alpha_from_peak(values), rel=1e-5)


@pytest.mark.parametrize("exponent", [2.0, 3.5])
def test_hills_estimate_finds_the_exponent_of_a_power_law(exponent: float) -> None:
    """Eigenvalues at the quantiles of a density ~ lambda^-exponent from 1 on: the fullest bin is the first."""
    quantiles = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    values = (1 - quantiles) ** (-1 / (exponent - 1))
    assert alpha_from_peak(values) == pytest.approx(exponent, rel=0.02)
    assert alpha_fitted(values) == pytest.approx(exponent, rel=0.02)


def test_a_tail_holds_at_least_the_largest_eigenvalue() -> None:
    """Here the fullest bin is the last one, so the tail starts below it."""
    values = torch.tensor([1e-4, 1.0, 100.0, 100.0], dtype=torch.float64)
    assert alpha_from_peak(values) == pytest.approx(1 + 2 / (2 * np.log(100)))


@settings(max_examples=60, deadline=None)
@given(model=models(smallest=3, blocks=2), sparsity=st.floats(0.1, 0.5), epsilon=st.floats(0, 0.3))
def test_alphapruning_equals_its_formula(model: Matrices, sparsity: float, epsilon: float) -> None:
    for tail, estimate in (("peak", oracle.alpha_hill), ("fitted", oracle.alpha_fitted)):
        alphas = [
            float(np.mean([estimate(model.weights[linear].double().numpy()) for linear in linears]))
            for linears in model.blocks
        ]
        assume(max(alphas) > min(alphas) * (1 + 1e-3) and min(alphas) * 1e3 > max(alphas))
        expected = oracle.alpha_pruning(alphas, model.weights_by_block(), sparsity, epsilon)
        allocation = AlphaPruning(AlphaPruning.Params(epsilon=epsilon, tail=tail)).allocate(model, sparsity)
        assert allocation == pytest.approx(of_blocks(model, expected), abs=1e-5)


def test_alphas_become_shares_of_the_budget() -> None:
    """Ratios 0.7, 1 and 1.3 of blocks with 10, 20 and 10 weights have the mean 1."""
    sizes = {"a": (2, 5), "b": (4, 5), "c": (5, 2)}
    shares = scaled([2.0, 3.0, 4.0], [["a"], ["b"], ["c"]], sizes, 0.3, 0.5)
    assert shares == pytest.approx({"a": 0.35, "b": 0.5, "c": 0.65})
    assert scaled([3.0, 3.0, 3.0], [["a"], ["b"], ["c"]], sizes, 0.3, 0.5) == dict.fromkeys(sizes, 0.5)


def test_alphapruning_of_equal_blocks_is_uniform() -> None:
    model = matrices([[(8, 6)]] * 3, seed=0)
    for linear in model.weights:
        model.weights[linear] = model.weights["0.0"]
    assert AlphaPruning().allocate(model, 0.7) == pytest.approx(dict.fromkeys(model.weights, 0.7))


def rank_one(n: int) -> torch.Tensor:
    """A matrix with one eigenvalue above 0; the others come out as rounding errors."""
    return torch.outer(torch.arange(1.0, n + 1), torch.arange(2.0, n + 2))


def rotation(n: int) -> torch.Tensor:
    """A matrix whose eigenvalues are all 1, but for rounding."""
    return torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q


@pytest.mark.parametrize("make", [lambda n: torch.zeros(n, n), rank_one, rotation, torch.eye])
def test_a_spectrum_without_a_tail_fails_the_cell(make: Callable[[int], torch.Tensor]) -> None:
    with pytest.raises(CellFailure, match=r"the spectrum of 1\.0 has no tail"):
        spectrum(make(6).double(), "1.0")
