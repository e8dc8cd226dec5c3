"""ER: the Erdos-Renyi rule, which needs only the shapes of the matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prunebench.allocators.base import Allocation, Allocator
from prunebench.formulas.budget import fit

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Er(Allocator):
    """Give each linear a sparsity that depends on its shape: larger matrices become sparser.
    It needs neither data nor the weights, and costs nothing.

        grid:
          - {allocator: er, method: wanda, sparsity: 0.7}

    The density is `eps (out + in) / (out in)`, cut at 1: at this density a random bipartite graph keeps eps edges per
    unit on average, whatever the size of the layer. eps is the number that meets the budget: linears whose density
    would exceed 1 stay dense, and eps is solved again for the others, until none exceeds 1.
    """

    name = "er"
    title = "ER"
    reference = "Mocanu et al. 2018, Scalable training of artificial neural networks, eq. 1"

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """Compute the allocation from the sizes alone."""
        return erdos_renyi(model.sizes, sparsity)


def erdos_renyi(sizes: Mapping[str, tuple[int, int]], sparsity: float) -> Allocation:
    """Sparsities 1 - eps (out + in) / (out in), not below 0, with the eps that meets the budget exactly.

    `sizes` maps each linear to (out, in).
    """
    weights = {linear: out * width for linear, (out, width) in sizes.items()}
    kept = (1 - sparsity) * sum(weights.values())
    pruned = dict(sizes)
    eps = 0.0
    # Each cut density leaves more weights to the others: eps only grows, so cut densities stay cut.
    while pruned:
        eps = max(0.0, kept) / sum(out + width for out, width in pruned.values())
        full = {linear for linear, (out, width) in pruned.items() if eps * (out + width) >= weights[linear]}
        if not full:
            break
        kept -= sum(weights[linear] for linear in full)
        pruned = {linear: size for linear, size in pruned.items() if linear not in full}
    wishes = {
        linear: 1 - eps * (out + width) / weights[linear] if linear in pruned else 0.0
        for linear, (out, width) in sizes.items()
    }
    return fit(wishes, sizes, sparsity)
