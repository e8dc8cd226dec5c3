import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles import masks as oracle
from prunebench.engine.statistics import SiteStatistic
from prunebench.errors import CellFailure
from prunebench.formulas import masks
from prunebench.methods.magnitude import Magnitude
from prunebench.patterns import UNSTRUCTURED, Pattern

FULL = torch.ones(())
SPARSITIES = st.integers(0, 99).map(lambda percent: f"{percent / 100:.2f}")


@st.composite
def score_matrices(draw: st.DrawFn, multiple: int = 1) -> torch.Tensor:
    """Scores with many ties, [1..6, multiple..24]."""
    rows, groups = draw(st.integers(1, 6)), draw(st.integers(1, max(1, 24 // multiple)))
    values = st.integers(0, 5) if draw(st.booleans()) else st.floats(0, 1e6)
    size = rows * groups * multiple
    scores = draw(st.lists(values, min_size=size, max_size=size))
    return torch.tensor(scores, dtype=torch.float64).reshape(rows, groups * multiple)


@given(score_matrices(), SPARSITIES)
def test_rows_equal_the_oracle(scores: torch.Tensor, sparsity: str) -> None:
    mask = masks.prune_mask(scores, FULL.expand_as(scores), float(sparsity), UNSTRUCTURED, scope="row")
    assert (mask.numpy() == oracle.row_mask(scores.numpy(), sparsity)).all()


@given(score_matrices(), SPARSITIES)
def test_the_whole_matrix_equals_the_oracle(scores: torch.Tensor, sparsity: str) -> None:
    mask = masks.prune_mask(scores, FULL.expand_as(scores), float(sparsity), UNSTRUCTURED, scope="matrix")
    assert (mask.numpy() == oracle.matrix_mask(scores.numpy(), sparsity)).all()


@given(st.data(), st.integers(2, 8))
def test_groups_equal_the_oracle(data: st.DataObject, group: int) -> None:
    keep = data.draw(st.integers(1, group - 1))
    scores = data.draw(score_matrices(multiple=group))
    mask = masks.prune_mask(scores, FULL.expand_as(scores), 0.0, Pattern(keep, group), scope="row")
    assert (mask.numpy() == oracle.group_mask(scores.numpy(), keep, group)).all()


@st.composite
def pruned_before(draw: st.DrawFn, multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores, weights), some of the weights zero and scores of zeros arbitrary, negative ones among them."""
    scores = draw(score_matrices(multiple)) - draw(st.integers(0, 3))
    zero = draw(st.lists(st.booleans(), min_size=scores.numel(), max_size=scores.numel()))
    return scores, torch.where(torch.tensor(zero).reshape(scores.shape), 0.0, 1.5)


@given(pruned_before(), SPARSITIES, st.sampled_from(["row", "matrix"]))
def test_zeros_go_first_and_count(case: tuple[torch.Tensor, torch.Tensor], sparsity: str, scope: masks.Scope) -> None:
    scores, weight = case
    mask = masks.prune_mask(scores, weight, float(sparsity), UNSTRUCTURED, scope=scope).numpy()
    choose = {"row": oracle.row_mask, "matrix": oracle.matrix_mask}[scope]
    assert (mask == choose(oracle.zeros_lowest(scores.numpy(), weight.numpy()), sparsity)).all()
    pruned = masks.zeroed(weight, torch.from_numpy(mask)).numpy()
    asked, had = (oracle.units(matrix, {"row": "rows"}.get(scope, scope)) for matrix in (pruned, weight.numpy()))
    counts = [oracle.nearest(part.size, sparsity) for part in had]
    for after, before, count in zip(asked, had, counts, strict=True):
        assert (after == 0).sum() == max((before == 0).sum(), count)
    rows, columns = (1 if scope == "row" else len(weight)), weight.shape[1]
    beyond = masks.zeros_beyond(weight == 0, rows, columns, lambda total: oracle.nearest(total, sparsity))
    assert beyond == sum(max(0, (part == 0).sum() - count) for part, count in zip(had, counts, strict=True))


@given(st.data(), st.integers(2, 8))
def test_zeros_go_first_in_groups(data: st.DataObject, group: int) -> None:
    keep = data.draw(st.integers(1, group - 1))
    scores, weight = data.draw(pruned_before(multiple=group))
    mask = masks.prune_mask(scores, weight, 0.0, Pattern(keep, group), scope="row").numpy()
    assert (mask == oracle.group_mask(oracle.zeros_lowest(scores.numpy(), weight.numpy()), keep, group)).all()
    beyond = masks.zeros_beyond(weight == 0, 1, group, lambda _: group - keep)
    parts = oracle.units(weight.numpy(), "groups", group)
    assert beyond == sum(max(0, (part == 0).sum() - (group - keep)) for part in parts)


@given(pruned_before(), st.integers(1, 30), st.integers(0, 9))
def test_zeros_beyond_what_strips_are_asked_for(
    case: tuple[torch.Tensor, torch.Tensor], columns: int, tenths: int
) -> None:
    zeros = case[1] == 0
    beyond = masks.zeros_beyond(zeros, len(zeros), columns, lambda total: total * tenths // 10)
    parts = oracle.units(zeros.numpy(), "strips", columns)
    assert beyond == sum(max(0, int(part.sum()) - part.size * tenths // 10) for part in parts)


def test_without_zeros_scores_are_not_copied() -> None:
    scores = torch.rand(3, 4)
    assert masks.zeros_first(scores, torch.ones(3, 4)) is scores


@given(st.integers(1, 10_000), SPARSITIES)
def test_the_count_is_the_nearest_whole_number(total: int, sparsity: str) -> None:
    assert masks.pruned_count(total, float(sparsity)) == oracle.nearest(total, sparsity)


def test_both_ways_of_finding_the_threshold_agree() -> None:
    """numpy's selection runs on the CPU, torch's on a GPU."""
    scores = torch.randint(0, 50, (40, 60), generator=torch.Generator().manual_seed(0)).double()
    for k in (1, 30, 60):
        assert torch.equal(masks.kth_smallest(scores, k), scores.kthvalue(k, dim=1, keepdim=True).values)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_fail_the_cell(bad: float) -> None:
    scores = torch.tensor([[1.0, bad], [2.0, 3.0]], dtype=torch.float64)
    with pytest.raises(CellFailure, match="not finite"):
        masks.prune_mask(scores, FULL.expand_as(scores), 0.5, UNSTRUCTURED, scope="row")


def test_magnitude_as_released_drops_one_too_many_and_all_ties() -> None:
    weight = torch.tensor([[1.0, -2.0, 3.0, 3.0], [4.0, 5.0, -3.0, 6.0]])
    released = Magnitude(Magnitude.configure("released")).mask(weight, SiteStatistic(), 0.25, UNSTRUCTURED)
    # int(8 * 0.25) = 2, the value at rank 2 (from 0) is 3: both smaller ones and all three 3s go.
    assert (released.numpy() == (np.abs(weight.numpy()) <= 3)).all()
    exact = Magnitude().mask(weight, SiteStatistic(), 0.25, UNSTRUCTURED)
    assert exact.sum() == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_zeroed_is_zero_where_masked_and_nothing_else_changes(dtype: torch.dtype) -> None:
    weight = torch.tensor([[-1.5, 2.0, float("nan"), -0.0], [float("inf"), -3.0, 4.0, 5.0]], dtype=dtype)
    mask = torch.tensor([[True, False, True, True], [True, False, True, False]])
    expected = torch.tensor([[0.0, 2.0, 0.0, 0.0], [0.0, -3.0, 0.0, 5.0]], dtype=dtype)
    pruned = masks.zeroed(weight, mask)
    assert pruned.dtype == dtype and torch.equal(pruned, expected)
    assert not pruned[mask].signbit().any()
