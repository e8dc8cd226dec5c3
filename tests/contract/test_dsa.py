"""DSA's operations, importances and allocations against plain numpy, at the edges and on scores like real ones."""

import math
import random
import weakref
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save_file

import tiny
from oracles import dsa as oracle
from prunebench.allocators.base import check_budget
from prunebench.allocators.dsa import Dsa
from prunebench.dsa import importance, intervals, operations, released
from prunebench.dsa.importance import Importances
from prunebench.dsa.language import MATRIX, POST, PRE, REDUCE, Function, parse, random_function, reject
from prunebench.dsa.operations import Invalid
from prunebench.engine.anatomy import Anatomy
from prunebench.engine.profile import profile_model
from prunebench.errors import CellFailure

README = "W:(ABSLOG)-(VAR)-(ATAN,ASIN)-(7)"
PAPER = "W:(LOG,ABSLOG)-(GEOMETRIC_MEAN)-(COS,EXP)"
Array = NDArray[np.float64]

EDGES = np.array(
    [0.0, -0.0, 5e-324, 1e-300, 1e-9, 0.5, 1.0, 1 + 1e-12, 1.5, 3.0, 20.5, 700.0, 720.0, 1e8, 1e200, math.inf]
)


class Scored:
    """Stands for an Anatomy: blocks of linears with given scores."""

    def __init__(self, blocks: list[list[Array]]) -> None:
        self._matrices = {f"{b}.{i}": x for b, block in enumerate(blocks) for i, x in enumerate(block)}
        self.blocks = [tuple(f"{b}.{i}" for i in range(len(block))) for b, block in enumerate(blocks)]
        self.sizes = {linear: x.shape for linear, x in self._matrices.items()}
        self.looked_at = 0

    def weight(self, linear: str) -> torch.Tensor:
        self.looked_at += 1
        return torch.from_numpy(self._matrices[linear])

    def squared_norm(self, linear: str) -> torch.Tensor:
        return torch.ones(self._matrices[linear].shape[1])


def scored(blocks: list[list[Array]]) -> Importances:
    return Importances(Scored(blocks))


def like_wanda(rng: np.random.Generator, blocks: int, shapes: list[tuple[int, int]]) -> list[list[Array]]:
    """|normal weights| times norms that spread over orders of magnitude, wider or narrower from block to block."""
    return [
        [np.abs(rng.standard_normal(shape)) * np.exp(rng.normal(0.1 * b, 0.5 + 0.15 * b, shape[1])) for shape in shapes]
        for b in range(blocks)
    ]


def tensors(block: list[Array]) -> list[torch.Tensor]:
    return [torch.from_numpy(x) for x in block]


@pytest.fixture(scope="module", params=["llama", "opt"])
def anatomy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Anatomy:
    """A tiny model of 4 blocks with its profile."""
    root = tmp_path_factory.mktemp("dsa")
    directory = tiny.make_model(root / "model", request.param, blocks=4)
    model = tiny.open_model(directory, request.param)
    save_file(profile_model(model, tiny.tokens(6, 16), batch_size=4), root / "profile.safetensors")
    return Anatomy(directory, model.family, torch.bfloat16, root / "profile.safetensors")


@pytest.mark.parametrize("op", sorted({*PRE, *POST} - {"NORMALIZE", "MMS"}))
def test_operations_on_single_values_at_the_edges(op: str) -> None:
    x = np.concatenate([EDGES, -EDGES, [math.nan], np.linspace(-4, 4, 101)])
    with np.errstate(all="ignore"):
        expected = oracle.elementwise(op, x)
    before = torch.from_numpy(x.copy())
    assert np.allclose(operations.elementwise(op, before).numpy(), expected, rtol=1e-13, atol=1e-300, equal_nan=True)
    assert torch.equal(before.nan_to_num(7), torch.from_numpy(x).nan_to_num(7)), "changes its argument"


def test_what_logarithms_make_of_zero_and_of_signs() -> None:
    x = torch.tensor([0.0, -math.e, math.e, 1 / math.e], dtype=torch.float64)
    assert operations.elementwise("LOG", x).tolist() == [0, 1, 1, -1]
    assert operations.elementwise("ABSLOG", x).tolist() == [0, 1, 1, 1]


RNG = np.random.default_rng(0)
BLOCKS = {
    "random": [np.abs(RNG.standard_normal(shape)) for shape in [(4, 7), (9, 3), (5, 5)]],
    "negative": [RNG.standard_normal(shape) for shape in [(4, 7), (9, 3)]],
    "all zero": [np.zeros((3, 4)), np.zeros((2, 2))],
    "constant": [np.full((3, 4), 2.5), np.full((2, 2), 2.5)],
    "zeros in it": [np.where(RNG.random((4, 6)) < 0.4, 0.0, RNG.random((4, 6)) + 0.1)],
    "tiny": [np.abs(RNG.standard_normal((3, 5))) * 1e-150, np.abs(RNG.standard_normal((6, 2))) * 1e-150],
    "huge": [np.abs(RNG.standard_normal((3, 5))) * 1e100],
    "overflow": [np.abs(RNG.standard_normal((3, 5))) * 1e200],
    "infinite": [np.array([[1.0, math.inf], [2.0, 3.0]])],
    "NaN": [np.array([[1.0, 2.0], [math.nan, 3.0]])],
    "a dead row": [np.vstack([np.zeros(5), np.abs(RNG.standard_normal((2, 5)))])],
    "dependent": [np.outer([1.0, 2.0, 3.0], [1.0, 0.5, 2.0, 4.0])],
    "one row": [np.array([[1.0, 2.0, 4.0]]), np.array([[3.0], [5.0]])],
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("op", PRE)
def test_pre_processing_of_a_block(op: str, name: str) -> None:
    block = BLOCKS[name]
    with np.errstate(all="ignore"):
        expected = oracle.pre_process([op], block)
    actual = operations.pre_process([op], tensors(block))
    for x, y in zip(actual, expected, strict=True):
        assert np.allclose(x.numpy(), y, rtol=1e-12, atol=1e-14, equal_nan=True)


SINGULAR = {"all zero", "constant", "a dead row", "dependent"}
"""The blocks whose determinants are 0 apart from rounding errors, which differ from those of the oracle."""


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("op", REDUCE)
def test_reductions_of_a_block(op: str, name: str) -> None:
    block = BLOCKS[name]
    if op in ("DETERMINANT", "SLOGDET") and name in SINGULAR:
        value = _or_nan(lambda: operations.reduce(op, tensors(block)))
        # Rounding makes a tiny determinant or none.
        assert math.isnan(value) or value < (0.1 if op == "DETERMINANT" else -10)
        return
    try:
        with np.errstate(all="ignore"):
            expected = oracle.reduce(op, block)
    except np.linalg.LinAlgError:
        expected = [np.array(math.nan)]
    if not all(np.isfinite(x).all() for x in expected):
        with pytest.raises(Invalid, match=f"{op} gives (NaN|an infinite value)"):
            operations.reduce(op, tensors(block))
        return
    actual = operations.reduce(op, tensors(block))
    together = np.concatenate([x.numpy().ravel() for x in actual])
    scale = max(np.abs(x).max() for x in expected)
    assert np.allclose(together, np.concatenate([x.ravel() for x in expected]), rtol=1e-11, atol=1e-14 * scale)
    # The groups that are averaged first: linears, or all at once.
    assert len(actual) == len(block if op in ("NO_OP", "GRAM", "CORREF", "DIAGONAL") else [0])


def _or_nan(compute: Callable[[], list[torch.Tensor]]) -> float:
    try:
        return float(compute()[0])
    except Invalid:
        return math.nan


def test_the_rank_of_any_spectrum() -> None:
    """The shortcut for matrices of full rank gives what the eigenvalues give, on both sides of its threshold."""
    rng = np.random.default_rng(1)
    seen = set()
    for exponent in np.linspace(-12, 0, 50):
        left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (12, 20))
        singular = np.logspace(0, exponent, 12)
        x = left @ np.diag(singular) @ right[:12]
        squares = singular**2
        if np.abs(np.log(squares / (12 * 2.0**-52))).min() > 1:  # not where rounding decides
            expected = float((squares > 12 * 2.0**-52).sum())
            assert operations.rank(torch.from_numpy(x)) == operations.rank(torch.from_numpy(x.T)) == expected
            seen.add(expected)
    assert 12 in seen and len(seen) > 3


def test_a_turn_without_digits_is_invalid() -> None:
    assert operations.post_process(["SIN"], [torch.tensor([1e8])], pooled=False) == pytest.approx(math.sin(1e8), 1e-6)
    for op in ("SIN", "COS", "TAN"):
        with pytest.raises(Invalid, match="is rounding"):
            operations.post_process([op], [torch.tensor([1.0, -1.1e8])], pooled=False)


def test_means_are_of_linears_or_of_all_entries() -> None:
    values = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([6.0])]
    assert operations.post_process([], values, pooled=True) == 3.0
    assert operations.post_process([], values, pooled=False) == 4.0
    with pytest.raises(Invalid, match="EXP gives an infinite value"):
        operations.post_process(["EXP", "ATAN"], [torch.tensor([800.0], dtype=torch.float64)], pooled=False)


SHAPES = [(6, 8), (6, 8), (3, 8), (10, 8), (8, 10)]


def test_any_function_equals_the_operations_one_after_the_other() -> None:
    """The normal form, from remembered reductions, gives what the operations as they stand give; or says why not."""
    rng = random.Random(5)
    blocks = like_wanda(np.random.default_rng(5), 4, SHAPES)
    blocks[1][0][0, :3] = 0
    importances = scored(blocks)
    outcomes: Counter[str] = Counter()
    for _ in range(3000):
        function = random_function(rng)
        expected = [oracle.guarded(function.pre, function.reduce, function.post, block) for block in blocks]
        try:
            values = importances.values(function)
        except Invalid as reason:
            assert (
                unusable_somewhere(oracle.guarded, function, blocks)
                or str(reason).endswith("is rounding")
                or function.reduce in ("DETERMINANT", "SLOGDET")
            ), f"{function}: {reason}"
            outcomes["invalid"] += 1
            continue
        if np.isfinite(expected).all() and tame(function):
            assert values == pytest.approx(expected, rel=1e-5, abs=1e-12), function
            outcomes["equal"] += 1
        assert np.isfinite(values).all() and max(values) > min(values)
    assert outcomes["equal"] > 1000 and outcomes["invalid"] > 500


def unusable_somewhere(compute: Callable[..., float], function: Function, blocks: list[list[Array]]) -> bool:
    """Whether blocks are infinite, or the same but for rounding, after REDUCE or a later step."""
    steps = [
        [compute(function.pre, function.reduce, function.post[:step], block) for block in blocks]
        for step in range(len(function.post) + 1)
    ]
    return any(
        not np.isfinite(values).all() or np.ptp(values) <= 1e-8 * max(1e-4, np.abs(values).max()) for values in steps
    )


def tame(function: Function) -> bool:
    """Whether all programs agree on `function`: it has no sine of a large number, no determinant and no rank."""
    return not {"SIN", "COS", "TAN"} & {*function.post} and function.reduce not in ("DETERMINANT", "SLOGDET", "RANK")


@pytest.mark.parametrize("reduction", sorted({*REDUCE} - {"NO_OP", "RANK"}))
@pytest.mark.parametrize("post", ["SIN", "COS", "TAN"])
def test_turns_and_determinants_of_moderate_values(reduction: str, post: str) -> None:
    blocks = like_wanda(np.random.default_rng(2), 3, SHAPES)
    expected = [oracle.guarded(["TANH"], reduction, [post, "ATAN"], block) for block in blocks]
    values = scored(blocks).values(Function(("TANH",), reduction, (post, "ATAN")))
    assert values == pytest.approx(expected, rel=1e-9)


def test_the_published_code_is_repeated() -> None:
    rng = random.Random(6)
    blocks = like_wanda(np.random.default_rng(6), 4, SHAPES)
    blocks[1][0][0, :3] = 0
    importances = scored(blocks)
    replaced = equal = 0
    for _ in range(3000):
        function = random_function(rng)
        if function.reduce in MATRIX:
            assert released.reject(function)
            with pytest.raises(Invalid, match="wants a matrix"):
                importances.values(function, released=True)
            continue
        assert released.reject(function) is None
        if unusable_somewhere(oracle.released, function, blocks):
            continue
        expected = [oracle.released(function.pre, function.reduce, function.post, block) for block in blocks]
        replaced += bool({0.0, -1.0} & {*expected})
        values = importances.values(function, released=True)
        if not {"SIN", "COS", "TAN"} & {*function.post}:
            # Where TANH has left few digits of 1 - x, LOG shows it.
            assert values == pytest.approx(expected, rel=1e-5, abs=1e-8), function
            equal += 1
    assert equal > 400 and replaced > 100


def test_the_published_code_keeps_blocks_without_an_importance_densest() -> None:
    """asin(atan(v)) is NaN for v > tan 1, NaN is 0, and 0 is the least: the widest blocks become the densest."""
    rng = np.random.default_rng(3)
    blocks = [[np.exp(rng.normal(0, width, (60, 40)))] for width in (0.6, 1.0, 1.2, 1.3, 2.0)]
    variances = [np.log(block[0]).var(ddof=1) for block in blocks]
    assert [variance > math.tan(1) for variance in variances] == [False, False, False, True, True]
    values = scored(blocks).values(parse(README), released=True)
    assert values[3:] == [0, 0] and values[:3] == sorted(values[:3]) and values[0] > 0
    model = Scored(blocks)
    allocation = Dsa(Dsa.configure("released", {"function": README})).allocate(model, 0.7)
    shares = list(allocation.values())
    assert shares[3] == shares[4] == min(shares) and shares[2] == max(shares)
    assert max(shares) - min(shares) == pytest.approx(0.16)
    # Guarded, the same function makes them the sparsest or nearly so: |ln S| is half as wide.
    guarded = Dsa(Dsa.Params(function=README)).allocate(model, 0.7)
    assert list(guarded.values()) == sorted(guarded.values()) and len({*guarded.values()}) == 5


def test_the_published_code_cannot_tell_blocks_apart_by_the_best_function_of_the_paper() -> None:
    blocks = like_wanda(np.random.default_rng(4), 3, [(400, 300)])
    with pytest.raises(Invalid, match="all blocks have the same importance"):
        scored(blocks).values(parse(PAPER), released=True)
    assert len({*scored(blocks).values(parse(PAPER))}) == 3


@pytest.mark.parametrize("text", [README, PAPER])
def test_the_published_functions_rank_blocks(text: str, anatomy: Anatomy) -> None:
    """The blocks are a tiny model's, and matrices of SmolLM2-135M's shapes with some weights of exactly 0."""
    assert reject(parse(text)) is None
    assert len({*Importances(anatomy).values(parse(text))}) == len(anatomy.blocks)
    rng = np.random.default_rng(0)
    blocks = like_wanda(rng, 3, [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)])
    for block in blocks:
        for x in block:
            x[rng.random(x.shape) < 3e-4] = 0
    values = scored(blocks).values(parse(text))
    assert not np.isfinite(values).all() or np.ptp(values) > 1e-3


def test_zeros_do_not_decide() -> None:
    """ln 0 := 0 is one value among others: 0.03% of zeros change the variance of ln S by less than a percent."""
    rng = np.random.default_rng(0)
    x = like_wanda(rng, 1, [(200, 300)])[0]
    holed = [np.where(rng.random((200, 300)) < 3e-4, 0.0, x[0])]
    values = [
        float(operations.reduce("VAR", operations.pre_process(["LOG"], tensors(block)))[0]) for block in (x, holed)
    ]
    assert values[0] != values[1] == pytest.approx(values[0], rel=0.01)


def test_of_random_functions_a_good_part_is_valid() -> None:
    """How many of 1,000 are refused unseen, are invalid on data, and rank blocks."""
    rng = random.Random(0)
    importances = scored(like_wanda(np.random.default_rng(0), 6, [(24, 24), (8, 24), (48, 24), (24, 48)]))
    outcomes: Counter[str] = Counter()
    for _ in range(1000):
        function = random_function(rng)
        if reject(function):
            outcomes["refused"] += 1
            continue
        try:
            importances.values(function)
            outcomes["valid"] += 1
        except Invalid:
            outcomes["invalid"] += 1
    print(dict(outcomes))
    assert 0.03 < outcomes["refused"] / 1000 < 0.25
    assert 0.55 < outcomes["valid"] / 1000 < 0.9


def test_what_is_refused_unseen_is_constant_or_invalid_on_any_data() -> None:
    rng = random.Random(1)
    data = np.random.default_rng(1)
    models = [like_wanda(data, 3, [(5, 6), (7, 5)]), [[scale * data.random((6, 8))] for scale in (1e-3, 1, 30)]]
    models.append([[x * 50 for x in block] for block in models[0]])
    refused = {function for function in (random_function(rng) for _ in range(6000)) if reject(function)}
    assert len(refused) > 300
    for function in refused:
        for blocks in models:
            assert unusable_somewhere(oracle.guarded, function, blocks), function


@given(
    st.sampled_from(sorted({*PRE, *POST} - {"NORMALIZE", "MMS"})),
    st.lists(st.floats(-800, 800) | st.floats(-2, 2) | st.floats(allow_nan=False), min_size=2, max_size=2),
    st.floats(0, 1),
)
def test_intervals_hold_every_value(op: str, ends: list[float], where: float) -> None:
    low, high = min(ends), max(ends)
    inside = low if math.isinf(low) else min(high, max(low, low + where * (high - low)))
    bottom, top = intervals.elementwise(op, (low, high))
    value = float(operations.elementwise(op, torch.tensor(inside, dtype=torch.float64)))
    slack = 1e-14 * abs(value) if math.isfinite(value) else 0
    assert math.isnan(value) or bottom - slack <= value <= top + slack


@pytest.mark.parametrize("op", sorted({*REDUCE}))
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.5, 0.9), (2, 30), (-3, 2), (-4, -1), (1, 1.01), (0, 0)])
def test_intervals_hold_every_reduction(op: str, low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    bottom, top = intervals.reduced(op, (low, high))
    for shape in [(1, 2), (2, 2), (3, 5), (9, 4)]:
        for kind in (rng.random(shape), rng.integers(0, 2, shape)):
            x = torch.from_numpy(low + (high - low) * kind.astype(float))
            try:
                values = torch.cat([y.flatten() for y in operations.reduce(op, [x, x.flip(0)])])
            except Invalid:
                continue
            slack = 1e-12 * max(1, abs(high))
            assert bottom - slack <= float(values.min()) and float(values.max()) <= top + slack


def test_reductions_are_remembered_and_so_are_their_failures() -> None:
    model = Scored(like_wanda(np.random.default_rng(0), 3, SHAPES))
    importances = Importances(model)
    first = importances.values(parse("W:(LOG)-(VAR)-(ATAN)"))
    looked_at = model.looked_at
    assert looked_at == len(model.sizes)
    assert importances.values(parse("W:(ABS,LOG)-(VAR)-(NO_OP,ATAN)")) == first
    assert importances.values(parse("W:(LOG)-(VAR)-(EXP,SIN)")) != first
    assert model.looked_at == looked_at
    importances.values(parse("W:(LOG)-(VAR)-(ATAN)"), released=True)
    assert model.looked_at == 2 * looked_at
    overflow = parse("W:(EXP,EXP)-(MEAN)-(SIN)")
    huge = Scored([[x * 50 for x in block] for block in like_wanda(np.random.default_rng(0), 3, SHAPES)])
    importances = Importances(huge)
    reasons = []
    for _ in range(2):
        with pytest.raises(Invalid) as error:
            importances.values(overflow)
        reasons.append(str(error.value))
    assert reasons == ["MEAN gives an infinite value"] * 2
    assert huge.looked_at == len(huge.blocks[0]), "stops at the first block, and does not look again"


class Watch:
    """Counts the score matrices that are in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
        self.most = 0
        self._wanda = importance.scores.wanda
        monkeypatch.setattr(importance.scores, "wanda", self)

    def __call__(self, weight: torch.Tensor, squared_norm: torch.Tensor) -> torch.Tensor:
        score = self._wanda(weight, squared_norm)
        self.alive.add(score)
        self.most = max(self.most, len(self.alive))
        return score


@pytest.mark.parametrize(
    ("text", "as_released"),
    [
        (README, False),
        (README, True),
        ("W:(POW,TANH)-(NO_OP)-(SIN,COS)", False),
        ("W:(POW,TANH)-(NO_OP)-(SIN,COS)", True),
        ("W:(LOG)-(GRAM)-(ATAN)", False),
    ],
)
def test_one_block_is_in_memory_at_a_time(text: str, as_released: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    scored(like_wanda(np.random.default_rng(0), 4, SHAPES)).values(parse(text), as_released)
    assert watch.most == len(SHAPES) and not watch.alive


def test_a_failure_keeps_no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    importances = scored([BLOCKS["infinite"]] * 2)
    with pytest.raises(Invalid):
        importances.values(parse("W:()-(MEAN)-(SIN)"))
    assert watch.most == 1 and not watch.alive


def test_one_block_alone_has_an_importance() -> None:
    blocks = like_wanda(np.random.default_rng(0), 1, SHAPES)
    assert len(scored(blocks).values(parse(README))) == 1
    with pytest.raises(Invalid, match="all blocks have the same importance"):
        scored(blocks * 2).values(parse(README))


@pytest.mark.parametrize("text", [README, PAPER, "W:(LOG)-(MEAN)-(NO_OP)-(10)", "W:(TANH)-(SLOGDET)-(NO_OP)"])
@pytest.mark.parametrize("sparsity", [0.5, 0.7])
def test_allocations_equal_their_formula(anatomy: Anatomy, text: str, sparsity: float) -> None:
    function = parse(text)
    blocks = [
        [
            np.abs(anatomy.weight(x).double().numpy()) * np.sqrt(anatomy.squared_norm(x).double().numpy())
            for x in linears
        ]
        for linears in anatomy.blocks
    ]
    V = [oracle.guarded(function.pre, function.reduce, function.post, block) for block in blocks]
    allocation = Dsa(Dsa.Params(function=text)).allocate(anatomy, sparsity)
    check_budget(allocation, anatomy.sizes, sparsity)
    assert list(allocation) == list(anatomy.sizes)
    expected = oracle.sparsities(V, {7: 0.07, 10: 0.1}.get(function.spread or 0, 0.08), sparsity)
    for value, linears in zip(expected, anatomy.blocks, strict=True):
        assert [allocation[x] for x in linears] == pytest.approx([value] * len(linears), abs=1e-9)
    assert max(zip(V, expected, strict=True))[1] == max(expected), "the most important block is not the sparsest"


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("sparsity", [0.0, 0.03, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("spread", [None, 0.0, 0.5, 3.0])
def test_the_budget_always_holds(anatomy: Anatomy, preset: str, sparsity: float, spread: float | None) -> None:
    params = Dsa.configure(preset, {"function": "W:(LOG)-(VAR)-(ATAN)", "spread": spread})
    check_budget(Dsa(params).allocate(anatomy, sparsity), anatomy.sizes, sparsity)


@pytest.mark.parametrize(
    ("preset", "text", "spread", "reach"),
    [
        ("paper", "W:(LOG)-(VAR)-(ATAN)", None, 0.16),
        ("paper", "W:(LOG)-(VAR)-(ATAN)-(10)", None, 0.2),
        ("paper", "W:(LOG)-(VAR)-(ATAN)-(10)", 0.01, 0.02),
        ("released", "W:(LOG)-(VAR)-(ATAN)-(10)", None, 0.16),
        ("released", "W:(LOG)-(VAR)-(ATAN)-(10)", 0.02, 0.04),
    ],
)
def test_lambda(anatomy: Anatomy, preset: str, text: str, spread: float | None, reach: float) -> None:
    params = Dsa.configure(preset, {"function": text, "spread": spread})
    shares = Dsa(params).allocate(anatomy, 0.5).values()
    assert max(shares) - min(shares) == pytest.approx(reach)


@pytest.mark.parametrize(
    ("preset", "text", "complaint"),
    [
        ("paper", "W:(LOG)-(VAR)-(ATANN)", "did you mean 'ATAN'"),
        ("paper", "W:(NORMALIZE)-(VAR)-(ATAN)", "cannot rank blocks: the VAR of scores after NORMALIZE"),
        ("released", "W:(LOG)-(GRAM)-(ATAN)", "cannot rank blocks: GRAM wants a matrix"),
    ],
)
def test_functions_are_checked_when_the_config_is_read(preset: str, text: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Dsa.configure(preset, {"function": text})


@pytest.mark.parametrize(("preset", "function"), [("paper", PAPER), ("released", README)])
def test_each_preset_has_a_published_function(preset: str, function: str) -> None:
    params = Dsa.configure(preset)
    assert params == Dsa.configure(preset, {"function": function}) and params.function == function


def test_a_function_that_fails_on_a_model_fails_the_cell(anatomy: Anatomy) -> None:
    params = Dsa.Params(function="W:(POW,EXP)-(MEAN)-(EXP,EXP)")
    with pytest.raises(CellFailure, match=r"EXP\) cannot rank the blocks of this model: EXP gives an infinite value"):
        Dsa(params).allocate(anatomy, 0.5)


def test_spaces_in_a_function_make_no_other_spec() -> None:
    assert Dsa.Params(function=" W:(LOG) - (VAR) - (SIN, COS)").function == "W:(LOG)-(VAR)-(SIN,COS)"
