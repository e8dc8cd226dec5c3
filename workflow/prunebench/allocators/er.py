"""ER: the Erdos-Renyi rule, by the shapes of the matrices alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prunebench.allocators.base import Allocation, Allocator
from prunebench.formulas.budget import fit

if TYPE_CHECKING:
    from prunebench.engine.anatomy import Anatomy


class Er(Allocator):
    """One sparsity per linear, from its shape: the density is `eps (out + in) / (out in)`, cut at 1.

    This is the density at which a random bipartite graph keeps eps edges per unit on average, whatever the size of the
    layer. Larger matrices become sparser; matrices of one shape get the same sparsity in every block. eps is what meets
    the budget: linears whose density would exceed 1 stay dense, and eps is solved again for the others, until none
    exceeds it.

    Needs neither data nor the weights, and costs nothing.
    """

    name = "er"
    title = "ER"
    reference = "Mocanu et al. 2018, Scalable training of artificial neural networks, eq. 1"

    def allocate(self, model: Anatomy, sparsity: float) -> Allocation:
        """From the sizes alone."""
        return erdos_renyi(model.sizes, sparsity)


def erdos_renyi(sizes: Mapping[str, tuple[int, int]], sparsity: float) -> Allocation:
    """Densities eps (out + in) / (out in) cut at 1, as sparsities, with the eps that meets the budget exactly.

    `sizes` maps each linear to (out, in).
    """
    weights = {linear: out * width for linear, (out, width) in sizes.items()}
    kept = (1 - sparsity) * sum(weights.values())
    pruned = dict(sizes)
    eps = 0.0
    # To cut one frees weights for the others: eps only grows, so what was cut stays so.
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
