"""The numerics of BESA: pure functions that treat all rows of a matrix at once.

p_k are the candidate sparsities, beta_k their learned weights, and alpha = sum_k beta_k p_k is the row's sparsity.
The "rank" of a weight is its position in its row by (score, index); rank 0 is the least important.
"""

from __future__ import annotations

from prunebench.lazy import torch

STEPS = 100
"""The number of bisection steps, enough for the last bit of a float64."""


def candidates(count: int) -> torch.Tensor:
    """The candidates p_k = k / count for k = count, ..., 0, float64 [count + 1], descending."""
    return torch.arange(count, -1, -1, dtype=torch.float64) / count


def reach(width: int, count: int) -> torch.Tensor:
    """R, float32 [width, count + 1]: R_ik is 1 if candidate k prunes the weight of rank i: (i + 1/2) / width < p_k.

    The half makes a candidate's number of zeros the whole number nearest to p_k width.
    """
    # Whole numbers are compared: both sides are often equal, and fractions would differ by rounding.
    ranks = 2 * torch.arange(width)[:, None] + 1
    return (ranks * count < 2 * width * torch.arange(count, -1, -1)).float()


def start(sparsity: float, count: int) -> torch.Tensor:
    """The logits t p_k, float64 [count + 1], with which alpha = `sparsity`: the flattest beta that has this mean.

    For 1/2 they are 0, where the published code starts for every sparsity. `sparsity` is kept half a candidate away
    from 0 and 1, where t is infinite.
    """
    p = candidates(count)
    target = min(max(sparsity, 0.5 / count), 1 - 0.5 / count)
    low, high = -8.0 * count, 8.0 * count
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(torch.softmax(middle * p, 0) @ p) < target else (low, middle)
    return high * p


def weights(theta: torch.Tensor, begin: torch.Tensor, *, smooth: bool) -> torch.Tensor:
    """beta = softmax(begin + theta) [rows, candidates]; with `smooth`, softmax(begin + sigmoid(theta))."""
    return torch.softmax(begin + (theta.sigmoid() if smooth else theta), dim=-1)


def soft_mask(beta: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """The probability that the weight of each rank goes, [rows, width], if the row's sparsity is drawn from beta.

    With sparsity p_k, all ranks i with R_ik = 1 go, so P(rank i goes) = sum_k beta_k R_ik: the cumulated beta of all
    candidates sparser than i (eq. 4). It falls with the rank, and its mean over ranks is alpha but for the rounding of
    p_k width. `reach` is R.
    """
    return beta @ reach.to(beta.dtype).T


def zeros(alpha: torch.Tensor, width: int) -> torch.Tensor:
    """The number of weights of each row that go at sparsity `alpha`: the ranks i with (i + 1/2) / width < alpha."""
    return (alpha * width - 0.5).ceil().long().clamp(0, width)


def error(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean over channels of ||y_c - y'_c||^2 / ||y_c||^2, for outputs y' and y [..., channels], in float32.

    A channel that is 0 in the target counts as an error of 0.
    """
    y = target.float().flatten(0, -2)
    missed = (y - outputs.float().flatten(0, -2)).square().sum(dim=0)
    whole = y.square().sum(dim=0)
    return torch.where(whole > 0, missed / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0).mean()


def exact_zeros(
    wishes: torch.Tensor, widths: torch.Tensor, total: int, least: torch.Tensor | None = None
) -> torch.Tensor:
    """Numbers of zeros of each row, int64 [rows], that sum to `total` and follow the sparsities `wishes`.

    `wishes` is float64 [rows], `widths` [rows] the number of weights of each row, `least` int64 [rows] its least number
    of zeros (default 0). If `least` sums to `total` or more, it is the result. As in `formulas.budget.fit`, all wishes
    move by the same amount and are cut to [0, 1] and to `least`. The numbers are rounded down, and the rows that lost
    most get one more; of equal rows the first.
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
    # Full rows come last: by rounding, more zeros may be missing than there are rows with a fraction.
    lost = torch.where(counts < widths, share - counts, -1.0)
    counts[lost.argsort(descending=True, stable=True)[: total - int(counts.sum())]] += 1
    return counts
