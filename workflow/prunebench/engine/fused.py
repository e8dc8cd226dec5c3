"""Fused matrices: several linears whose rows are in one matrix of the files are opened as linears of their own.

Hooks, trial weights, gradients and statistics then see the parts; their outputs are joined as the model's own code
expects them. A product with the rows of a part may round otherwise than a product with all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from prunebench.errors import PrunebenchError
from prunebench.formulas.rows import join
from prunebench.models.base import Family
from prunebench.models.configs import Dimensions, Rows, part_rows


class FusedLinear(nn.Module):
    """Several linears in place of the one that held the rows of all, with the same input and the same output."""

    def __init__(self, linear: nn.Linear, parts: Mapping[str, Rows]) -> None:
        """`parts` maps the name of each part to its rows. The parts have no values yet (device `meta`)."""
        super().__init__()
        self.groups = next(iter(parts.values())).groups
        for name, rows in parts.items():
            # The class of `linear`: Falcon's linears add the bias in a separate step, which rounds otherwise.
            part = type(linear)(
                linear.in_features,
                rows.count,
                bias=linear.bias is not None,
                device="meta",
                dtype=linear.weight.dtype,
            )
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """Compute [..., in] -> [..., out], with the outputs in the order of the fused linear."""
        return join([part(x) for part in self.children()], self.groups, axis=x.dim() - 1)


def split_fused(model: nn.Module, family: type[Family], sizes: Dimensions, directory: Path) -> None:
    """Replace every fused linear in the blocks of `model`, which is on `meta`, by a FusedLinear.

    Raises PrunebenchError if the parts together do not have as many rows as the linear.
    """
    for block in model.get_submodule(family.blocks).children():
        for fused in family.fused:
            linear = block.get_submodule(fused.matrix)
            assert isinstance(linear, nn.Linear)
            rows = part_rows(fused, sizes)
            total = next(iter(rows.values())).total
            if linear.out_features != total:
                raise PrunebenchError(
                    f"{directory}: transformers makes {fused.matrix} with {linear.out_features} rows, but its parts "
                    f"have {total} together: this variant of the architecture is not known"
                )
            parent, _, child = fused.matrix.rpartition(".")
            parts = {linear.rpartition(".")[2]: run for linear, run in rows.items()}
            setattr(block.get_submodule(parent), child, FusedLinear(linear, parts))
