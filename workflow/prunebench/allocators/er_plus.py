"""ER-plus: the Erdos-Renyi rule with a dense last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.allocators.base import Allocation, Allocator
from prunebench.allocators.er import erdos_renyi
from prunebench.errors import CellFailure

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class ErPlus(Allocator):
    """Keep the last linear dense; the others follow the rule of `er` and make up for it.
    It needs neither data nor the weights, and costs nothing.

        grid:
          - {allocator: er_plus, method: wanda, sparsity: 0.7}

    The last linear is the output projection of the FFN in the last block (`down_proj`, `fc2`), or in the last block of
    the half with `layers: first_half`. The head of the language model is dense anyway. If the last linear alone has
    more weights than the budget keeps, the cell fails with that reason.

    The rule comes from image classifiers, where the last layer is the classifier; OWL's paper does not say which layer
    it means. A later re-implementation (in the code of LSA) keeps the `down_proj` of every block dense; that is another
    allocation, and not implemented.
    """

    name = "er_plus"
    title = "ER-plus"
    reference = "Liu et al. 2022, The Unreasonable Effectiveness of Random Pruning"

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the sizes. Raises CellFailure if the budget is below the last linear's size."""
        last = model.blocks[-1][-1]
        others = {linear: size for linear, size in model.sizes.items() if linear != last}
        total, rest = model.prunable_weights, sum(out * width for out, width in others.values())
        zeros = sparsity * total
        if zeros > rest:
            raise CellFailure(
                f"the budget keeps {1 - sparsity:.2%} of the weights, but {last}, which ER-plus keeps dense, "
                f"has {1 - rest / total:.2%}: choose a lower sparsity"
            )
        shares = erdos_renyi(others, zeros / rest) | {last: 0.0}
        return {linear: shares[linear] for linear in model.sizes}
