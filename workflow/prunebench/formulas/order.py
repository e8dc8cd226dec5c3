"""The order of columns in ROSE: costly columns go while many others can make up for them."""

from __future__ import annotations

from prunebench.formulas import masks, scores
from prunebench.lazy import torch

UNEVEN = 0.5
"""The relative range of the losses of strips above which a matrix is reordered."""


def by_loss(weight: torch.Tensor, squares: torch.Tensor, sparsity: float, strip: int) -> torch.Tensor | None:
    """The numbers of the columns of W = `weight` [out, in] in the order in which they should go; None for the present.

    The score of a weight is Wanda's, |w| times the root of `squares` [in], the diagonal of X X^T. In each strip of
    `strip` columns the lowest scores, as many as `sparsity` says, are taken for the loss of pruning. Columns are sorted
    by their loss within their strip, and strips by theirs, both largest first, if the range of the losses of strips is
    more than half of the largest (Su & Wang 2026, ROSE). A last strip of fewer columns stays the last.
    """
    score = scores.wanda(weight, squares).double()
    columns: list[torch.Tensor] = []
    losses: list[float] = []
    for low in range(0, weight.shape[1], strip):
        part = score[:, low : low + strip]
        loss = part.masked_fill(~masks.lowest_of_matrix(part, sparsity), 0).sum(dim=0)
        columns.append(low + loss.argsort(descending=True, stable=True))
        losses.append(float(loss.sum()))
    if max(losses) - min(losses) <= UNEVEN * max(losses):
        return None
    whole = weight.shape[1] // strip
    ranks = sorted(range(whole), key=lambda place: -losses[place])
    return torch.cat([columns[place] for place in [*ranks, *range(whole, len(columns))]])
