"""Which weights are pruned: exact counts, ranked by (score, index), for every pattern.

Functions take scores [out, in] (higher = keep); most return a boolean tensor of that shape, True = pruned. A weight
that is zero before pruning is pruned first, whatever its score (`zeros_first`): it counts towards the sparsity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from prunebench.errors import CellFailure
from prunebench.formulas.finite import is_finite
from prunebench.lazy import torch
from prunebench.patterns import Pattern

Scope = Literal["row", "matrix"]
"""Whether an unstructured sparsity is met in each output row, or in all weights of a matrix together."""


def pruned_count(total: int, sparsity: float) -> int:
    """The number of zeros among `total` weights at `sparsity`: the nearest whole number, halves rounded up."""
    # The small term undoes binary rounding: 50 * 0.29 is 14.499999999999998.
    return int(total * sparsity + 0.5 + total * 1e-15)


def prune_mask(
    scores: torch.Tensor, weight: torch.Tensor, sparsity: float, pattern: Pattern, *, scope: Scope
) -> torch.Tensor:
    """Mask [out, in] of the lowest fraction `sparsity` of each row or of the matrix; for n:m, the lowest of each group.

    Zeros of `weight` [out, in] are pruned first. Where there are more of them than asked for, the mask holds some of
    them and nothing else. Raises CellFailure if a score is not finite.
    """
    if not is_finite(scores):
        raise CellFailure("scores are not finite (NaN or infinity in weights or activations)")
    scores = zeros_first(scores, weight)
    if pattern.structured:
        return lowest_of_groups(scores, pattern)
    if scope == "row":
        return lowest(scores, pruned_count(scores.shape[1], sparsity))
    return lowest_of_matrix(scores, sparsity)


def zeros_first(scores: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`scores` with -infinity, the lowest rank, where `weight` is 0; `scores` itself if no weight is 0."""
    # The check costs a fraction of the copy.
    if weight.all():
        return scores
    return torch.where((weight == 0).to(scores.device), -torch.inf, scores)


def zeros_beyond(zeros: torch.Tensor, rows: int, columns: int, asked: Callable[[int], int]) -> int:
    """The surplus of `zeros`, boolean [out, in], over the number that each part of the matrix should have, summed.

    A part has `rows` rows (1 or out) and `columns` columns; the last parts have fewer if `columns` does not divide in.
    `asked` maps a part's number of weights to the number of zeros it should have.
    """
    whole = zeros.shape[1] // columns * columns
    surplus = 0
    for part, width in ((zeros[:, :whole], columns), (zeros[:, whole:], zeros.shape[1] - whole)):
        if part.numel():
            counts = part.reshape(len(zeros) // rows, rows, -1, width).sum(dim=(1, 3))
            surplus += int((counts - asked(rows * width)).clamp(min=0).sum())
    return surplus


def zeroed(weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`weight`, a float tensor, with +0 where `mask` is True."""
    # A product of integers: masked_fill takes ten times as long, and a product of floats leaves -0 and NaN.
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return (weight.view(integers) * ~mask).view(weight.dtype)


def lowest_of_matrix(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Mask of the lowest fraction `sparsity` of all scores together; equal ones go by row, then by column."""
    return lowest(scores.reshape(1, -1), pruned_count(scores.numel(), sparsity)).reshape(scores.shape)


def up_to_rank(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Mask of all scores up to the one of rank int(total * sparsity): one too many plus ties, as in published codes."""
    rank = min(int(scores.numel() * sparsity), scores.numel() - 1)
    return scores <= kth_smallest(scores.reshape(1, -1), rank + 1)


def lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` lowest scores of each row; of equal scores, lower indices go first. Takes O(n), no sort."""
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = kth_smallest(scores, count)
    mask = scores <= threshold
    surplus = mask.sum(dim=1) - count
    tied = surplus.nonzero().squeeze(1)
    if len(tied):
        # In these rows several weights equal the threshold: the ones with the highest indices stay. They are few, so
        # their places take less memory than a count in every place.
        equal = scores[tied].eq_(threshold[tied]).bool() if len(tied) < len(scores) else scores == threshold
        row, column = equal.nonzero(as_tuple=True)
        through = equal.sum(dim=1).cumsum(0)
        from_right = through[row] - torch.arange(len(row), device=row.device)
        stays = from_right <= surplus[tied][row]
        mask[tied[row[stays]], column[stays]] = False
    return mask


def lowest_of_groups(scores: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """Mask of all but the `pattern.keep` highest of every `pattern.group` scores; of equal ones, lower indices go."""
    size = pattern.group
    groups = scores.reshape(scores.shape[0], -1, size)
    drop = size - pattern.keep
    mask = torch.empty_like(groups, dtype=torch.bool)
    # Comparisons are counted for the rank: size^2 passes beat millions of tiny sorts.
    for i in range(size):
        column = groups[..., i]
        rank = torch.zeros_like(column, dtype=torch.int16)
        for j in range(size):
            if j < i:
                rank += groups[..., j] <= column
            elif j > i:
                rank += groups[..., j] < column
        mask[..., i] = rank < drop
    return mask.reshape(scores.shape)


def ranks(scores: torch.Tensor) -> torch.Tensor:
    """The rank of every weight in its row by (score, index), [rows, width], in the smallest integers that hold it."""
    width = scores.shape[1]
    order = scores.argsort(dim=1, stable=True)
    small = torch.int16 if width < 1 << 15 else torch.int32
    steps = torch.arange(width, dtype=small, device=scores.device).expand_as(order)
    return torch.empty_like(order, dtype=small).scatter_(1, order, steps)


def kth_smallest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th smallest score of each row, [rows, 1]."""
    if scores.device.type == "cpu":
        # numpy's vectorised selection is about 5 times as fast as torch.kthvalue here.
        import numpy as np

        return torch.from_numpy(np.partition(scores.numpy(), k - 1, axis=1)[:, k - 1 : k].copy())
    return scores.kthvalue(k, dim=1, keepdim=True).values
