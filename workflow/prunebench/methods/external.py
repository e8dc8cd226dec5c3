"""External: a pruned checkpoint that somebody else made, measured like every other cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from prunebench.catalog import Slug
from prunebench.errors import PrunebenchError
from prunebench.methods.base import BlockResult, Method, PrunedLinear
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.engine.stores import TensorStore


class External(Method):
    """All tensors of another model of the catalog, made from the cell's model by other means. Its sparsity is measured.

    Tensors that are not pruned linears (norms, biases, embeddings) may differ too, as after fine-tuning.
    """

    class Params(Parameters):
        """Which checkpoint."""

        model: Slug = Field(description="catalog name of the pruned checkpoint")

    name = "external"
    title = "External checkpoint"
    uses: ClassVar[frozenset[str]] = frozenset()

    @property
    def assets(self) -> tuple[str, ...]:
        """The checkpoint."""
        return (f"models/{self.params.model}",)

    def prune_block(self, block: BlockView, *_: Any) -> BlockResult:
        """The checkpoint's tensors of this block; with block 0 also those outside all blocks."""
        theirs = block.asset(*self.assets)
        if block.index == 0:
            self._check(theirs, block.original)
        linears = {linear: PrunedLinear(theirs[f"{name}.weight"]) for linear, name in block.full_names.items()}
        replaced = {f"{name}.weight" for name in block.full_names.values()}
        others = [name for name in block.original if name not in replaced and self._belongs(name, block)]
        return BlockResult(linears, tensors={name: theirs[name] for name in others if name in theirs})

    def _belongs(self, name: str, block: BlockView) -> bool:
        owner = block.owner(name)
        return owner == block.index or (owner is None and block.index == 0)

    def _check(self, theirs: TensorStore, ours: TensorStore) -> None:
        """PrunebenchError unless both have the same tensors in the same shapes, but for copies of tied ones."""
        for name in {**dict.fromkeys(ours), **dict.fromkeys(theirs)}:
            here, there = ([*store[name].shape] if name in store else "nothing" for store in (ours, theirs))
            if here != there and name != "lm_head.weight":
                raise PrunebenchError(
                    f"{self.params.model} is no pruned version of this model: {name} is {there} there and {here} here. "
                    "Correct 'model' of the method's entry, or the grid"
                )
