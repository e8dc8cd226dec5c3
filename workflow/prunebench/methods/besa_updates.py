"""The numerics of BESA: pure functions, rows of a matrix side by side.

p_k are the candidate sparsities, beta_k their learned weights, alpha = sum_k beta_k p_k the sparsity they stand for.
"Rank" is the position of a weight among those of its row by (score, index), 0 the least important.
"""

from __future__ import annotations

from prunebench.lazy import torch

STEPS = 100
"""Bisection steps: enough for the last bit of a float64."""


def candidates(count: int) -> torch.Tensor:
    """p_k = k / count for k = count, ..., 0: float64 [count + 1], descending."""
    return torch.arange(count, -1, -1, dtype=torch.float64) / count


def reach(width: int, count: int) -> torch.Tensor:
    """R [width, count + 1] float32: 1 where candidate k prunes the weight of rank i, (i + 1/2) / width < p_k.

    The half makes a candidate's number of zeros the whole number nearest to p_k width.
    """
    # In whole numbers: both sides are often equal, and would differ by rounding.
    ranks = 2 * torch.arange(width)[:, None] + 1
    return (ranks * count < 2 * width * torch.arange(count, -1, -1)).float()


def start(sparsity: float, count: int) -> torch.Tensor:
    """The logits t p_k, float64 [count + 1], with which alpha = `sparsity`: the flattest beta that has this mean.

    For 1/2 they are 0, where the published code starts for every sparsity. `sparsity` is kept off 0 and 1, where t
    is infinite, by half a candidate.
    """
    p = candidates(count)
    wanted = min(max(sparsity, 0.5 / count), 1 - 0.5 / count)
    low, high = -8.0 * count, 8.0 * count
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(torch.softmax(middle * p, 0) @ p) < wanted else (low, middle)
    return high * p


def weights(theta: torch.Tensor, begin: torch.Tensor, *, smooth: bool) -> torch.Tensor:
    """beta = softmax(begin + theta) [rows, candidates]; with `smooth` of sigmoid(theta), as in the published code."""
    return torch.softmax(begin + (theta.sigmoid() if smooth else theta), dim=-1)


def soft_mask(beta: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """The probability that the weight of each rank goes, [rows, width], if the row's sparsity is drawn from beta.

    With sparsity p_k the weights go whose rank is within its reach, so P(rank i goes) = sum_k beta_k R_ik: the
    cumulated beta of all candidates sparser than i (eq. 4). It falls with the rank, and its mean over ranks is alpha
    but for the rounding of p_k width. `reach` is R.
    """
    return beta @ reach.to(beta.dtype).T


def zeros(alpha: torch.Tensor, width: int) -> torch.Tensor:
    """How many weights of a row go at sparsity alpha: the ranks i with (i + 1/2) / width < alpha, int64 [rows]."""
    return (alpha * width - 0.5).ceil().long().clamp(0, width)


def error(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean over channels of ||y_c - y'_c||^2 / ||y_c||^2, for outputs y' and y [..., channels], in float32.

    A channel that is 0 in the target has no relative error, and counts as none.
    """
    y = target.float().flatten(0, -2)
    missed = (y - outputs.float().flatten(0, -2)).square().sum(dim=0)
    whole = y.square().sum(dim=0)
    return torch.where(whole > 0, missed / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0).mean()


def exact_zeros(
    wishes: torch.Tensor, widths: torch.Tensor, total: int, least: torch.Tensor | None = None
) -> torch.Tensor:
    """Whole numbers of zeros per row, int64 [rows], that sum to `total` and stay nearest in shape to `wishes`.

    `wishes` float64 [rows] are sparsities, `widths` the rows' weights, `least` int64 [rows] how many zeros each row has
    at least (default: none); where these are more than `total`, they are the result. As `allocators.budget.fit`: all
    wishes move by the same amount and are cut to [0, 1], and to what a row has at least. Then the zeros are rounded
    down, and the rows that lost most by it get one more, of equal ones the first.
    """
    wishes, widths = wishes.double().cpu(), widths.cpu()
    floor = torch.zeros_like(widths) if least is None else least.cpu()
    if int(floor.sum()) >= total:
        return floor

    def moved(shift: float) -> torch.Tensor:
        return ((wishes + shift).clamp(0, 1) * widths).maximum(floor.double())

    low, high = -float(wishes.max()), 1 - float(wishes.min())
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(moved(middle).sum()) <= total else (low, middle)
    share = moved(low)
    counts = share.floor().long()
    # Full rows last: by rounding, what is missing may exceed the number of rows with a fraction.
    lost = torch.where(counts < widths, share - counts, -1.0)
    counts[lost.argsort(descending=True, stable=True)[: total - int(counts.sum())]] += 1
    return counts
