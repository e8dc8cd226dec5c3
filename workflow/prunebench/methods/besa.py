"""BESA: learn how sparse each row of a block is, by gradients through a soft mask. The maths is in `besa_updates`."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.engine.stat import Stat
from prunebench.errors import CellFailure
from prunebench.formulas import masks, scores
from prunebench.formulas.budget import fit
from prunebench.formulas.finite import is_finite
from prunebench.lazy import torch
from prunebench.methods import besa_updates as updates
from prunebench.methods.besa_parameters import Learning
from prunebench.patterns import Pattern
from prunebench.plugin import Support

if TYPE_CHECKING:
    from prunebench.cell import Cell
    from prunebench.engine.block import BlockView
    from prunebench.engine.statistics import Statistics
    from prunebench.estimate.costs import Cost, Pruning


class Besa(Method):
    """Learn the sparsity of every output row of a block such that the block's output changes little.
    Within a row, the weights with the lowest Wanda scores go; weights that stay are not changed.

        methods:
          besa_short: {method: besa, params: {steps: 64, granularity: matrix}}

    A row's sparsity is `alpha = sum_k beta_k p_k` over the candidates p_k = 1, 0.99, ..., 0, with learned
    `beta = softmax(sigmoid(theta))`. The mask zeroes the ranks below alpha. Its derivative is that of a soft mask, in
    which the weight of rank r (a fraction of the row) goes with the probability that a sparsity drawn from beta
    exceeds r: the sum of beta_k over all p_k > r. The loss is

        mean over channels of ||y - y'||^2 / ||y||^2  +  sparsity_beta ((alpha_block - s) / s)^2

    where y and y' are the outputs of the unpruned and the pruned block on the outputs of the pruned blocks before it,
    and alpha_block is the mean sparsity of the block's weights. Prodigy takes `steps` steps, each on one calibration
    sample. At the end all alpha move by the same amount and are cut to [0, 1], so that exactly the fraction s of the
    block's weights is zero. Rows keep at least the zeros that they had before.

    All linears of a block share the budget s, the mean of the allocation over their weights, except for linears to
    which the allocation gives 0 or 1. With `granularity: matrix` each matrix has one sparsity, as in allocator `besa`.

    Cost: a forward and a backward pass of the block for every step, and three forward passes over all samples, two of
    them for the record (the block's error with s everywhere and with the learned sparsities). Memory: the block's
    outputs on all samples, the graph of one sample's backward pass, a rank (2 bytes) and a trial copy of each weight,
    about 24 bytes for each weight of the largest linear, and about 6 kB for each row.

    Differences from the published code: it starts at the sparsity 0.5 whatever s is (preset `released`). Because the
    sigmoid keeps the weights of candidates within a factor e of one another, it then reaches only 0.38 to 0.62: for
    s = 0.7 nearly all rows end at the bound. Here beta starts as the flattest distribution with mean s. The code meets
    s only approximately, through the penalty, and rounds numbers of zeros down; here they are rounded to the nearest.
    Its one epoch over 128 samples is 128 steps here, whatever the number of samples. n:m patterns, quantisation and
    low-rank updates are not implemented.
    """

    class Params(Learning):
        """Parameters of BESA."""

        granularity: Literal["row", "matrix"] = "row"
        """whether each row or each matrix has its own sparsity"""

    name = "besa"
    title = "BESA"
    reference = (
        "Xu et al. 2024, BESA: Pruning Large Language Models with Blockwise Parameter-Efficient Sparsity Allocation"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"start": "half"}}
    uses: ClassVar[frozenset[str]] = Method.uses | {"calibration", "seed"}
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SITE_NORM})
    redistributes = True

    def cost(self, job: Pruning) -> Cost:
        """Steps of learning in every block."""
        return job.learned(self.params.steps)

    def supports(self, cell: Cell) -> Support:
        """Whether the pattern is unstructured; an n:m pattern leaves nothing to learn."""
        if cell.shape.structured:
            return Support(False, f"{cell.pattern} fixes the sparsity of every row, BESA has nothing to learn")
        return Support(True)

    def prune_block(
        self,
        block: BlockView,
        statistics: Statistics,
        allocation: Mapping[str, float],
        pattern: Pattern,
    ) -> BlockResult:
        """Prune all linears of the block at once. Raises CellFailure if a score or the loss is not finite."""
        from prunebench.methods.besa_learning import Problem

        gone = {
            linear: PrunedLinear(torch.zeros_like(block.weight(linear)), {"sparsity": 1.0})
            for linear, share in allocation.items()
            if share == 1
        }
        sizes = {linear: (*block.weight(linear).shape,) for linear, share in allocation.items() if 0 < share < 1}
        if not sizes:
            return BlockResult(gone)
        budget = sum(allocation[linear] * prod(size) for linear, size in sizes.items()) / sum(map(prod, sizes.values()))
        ranks = {
            linear: _ranks(block.weight(linear), statistics[site.name].squared_norm)
            for site in block.sites
            for linear in site.linears
            if linear in sizes
        }
        problem = Problem(block, ranks, {linear: entry.weight for linear, entry in gone.items()}, self.params)
        before = {linear: (block.weight(linear) == 0).sum(dim=1).cpu() for linear in sizes}
        same = {linear: torch.tensor([budget], dtype=torch.float64) for linear in sizes}
        uniform, _ = self._on_budget(same, sizes, budget, before)
        zeros, sparsities = self._on_budget(problem.learn(budget), sizes, budget, before)
        errors = {"uniform": problem.error(uniform), "learned": problem.error(zeros)}
        beyond = self._beyond(before, zeros, sizes, budget)
        learned = {
            linear: PrunedLinear(
                masks.zeroed(block.weight(linear), problem.gone(linear, counts)),
                {
                    "sparsity": sparsities[linear],
                    "rows": [int(end) / sizes[linear][1] for end in counts.aminmax()],
                    "zeros_beyond_target": beyond[linear],
                },
            )
            for linear, counts in zeros.items()
        }
        return BlockResult(gone | learned, {"budget": budget, "error": errors})

    def _beyond(
        self,
        before: Mapping[str, torch.Tensor],
        zeros: Mapping[str, torch.Tensor],
        sizes: Mapping[str, tuple[int, ...]],
        budget: float,
    ) -> dict[str, int]:
        """How many of each linear's zeros `before` pruning (int64 [rows]) are more than its budget.

        With a sparsity per row the budget is the block's: its surplus is divided in proportion to the linears' zeros.
        """
        if self.params.granularity == "matrix":
            return {linear: int((rows - zeros[linear]).clamp(min=0).sum()) for linear, rows in before.items()}
        counts = torch.stack([rows.sum() for rows in before.values()])
        had = int(counts.sum())
        surplus = max(0, had - masks.pruned_count(sum(map(prod, sizes.values())), budget))
        ends = (counts.cumsum(0) * surplus) // max(had, 1)
        shares = ends.diff(prepend=ends.new_zeros(1)).tolist()
        return dict(zip(before, shares, strict=True))

    def _on_budget(
        self,
        alpha: Mapping[str, torch.Tensor],
        sizes: Mapping[str, tuple[int, ...]],
        budget: float,
        before: Mapping[str, torch.Tensor],
    ) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        """Meet `budget`: return each linear's zeros per row (int64 [rows], or [1] for all rows) and its sparsity.

        No row gets fewer zeros than it has `before` pruning, int64 [rows].
        """
        if self.params.granularity == "matrix":
            wishes = {linear: float(share) for linear, share in alpha.items()}
            shares = fit(wishes, {linear: (out, width) for linear, (out, width) in sizes.items()}, budget)
            counts = {linear: masks.pruned_count(sizes[linear][1], share) for linear, share in shares.items()}
            return {linear: torch.tensor([count]) for linear, count in counts.items()}, shares
        rows = torch.cat([alpha[linear].cpu().expand(out) for linear, (out, _) in sizes.items()])
        widths = torch.cat([torch.full((out,), width) for out, width in sizes.values()])
        least = torch.cat([before[linear] for linear in sizes])
        whole = updates.exact_zeros(rows, widths, masks.pruned_count(int(widths.sum()), budget), least)
        zeros = dict(zip(sizes, whole.split([out for out, _ in sizes.values()]), strict=True))
        return zeros, {linear: int(counts.sum()) / prod(sizes[linear]) for linear, counts in zeros.items()}


def _ranks(weight: torch.Tensor, squared_norm: torch.Tensor) -> torch.Tensor:
    """Ranks [out, in] of the weights within their rows, by Wanda's score. CellFailure if a score is not finite."""
    score = scores.wanda(weight, squared_norm)
    if not is_finite(score):
        raise CellFailure("scores are not finite (NaN or infinity in weights or activations)")
    return masks.ranks(masks.zeros_first(score, weight))
