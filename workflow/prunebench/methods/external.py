"""External: a pruned checkpoint that somebody else made, measured like every other cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from prunebench.config.entries import Slug
from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.errors import PrunebenchError
from prunebench.lazy import torch
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.storage.tensors import TensorStore

NO_MATTER = {"_name_or_path", "architectures", "dtype", "tie_word_embeddings", "transformers_version", "use_cache"}
"""Keys of config.json that change no number; that heads are tied alike shows in the tensors."""


class External(Method):
    """All tensors of another model of the catalog, made from the cell's model by other means. Its sparsity is measured.

    Tensors that are not pruned linears (norms, biases, embeddings) may differ too, as after fine-tuning. Both models
    must have the same parameters in the same shapes, and config.json files that agree on all that changes a number;
    otherwise the job stops and says what differs. Tables show the checkpoint in the column of the sparsity that it has.
    It has no name of its own in grids: give it an entry under `methods`.
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
            self._check(block, theirs)
        linears = {linear: PrunedLinear(theirs[f"{name}.weight"]) for linear, name in block.full_names.items()}
        replaced = {f"{name}.weight" for name in block.full_names.values()}
        others = [name for name in block.parameters if name not in replaced and self._belongs(name, block)]
        return BlockResult(linears, tensors={name: theirs[name] for name in others if name in block.original})

    def _belongs(self, name: str, block: BlockView) -> bool:
        owner = block.owner(name)
        return owner == block.index or (owner is None and block.index == 0)

    def _check(self, block: BlockView, theirs: TensorStore) -> None:
        """PrunebenchError unless both compute in the same way and have the same parameters in the same shapes."""
        from transformers import AutoConfig

        ours = block.original
        for name in block.parameters:
            here, there = ([*store[name].shape] if name in store else "nothing" for store in (ours, theirs))
            # A checkpoint may hold a copy of a tied tensor.
            copy = name in theirs and name not in ours and torch.equal(theirs[name], theirs[block.parameters[name]])
            if here != there and not copy:
                self._refuse(f"{name} is {there} there and {here} here")
        configs = [AutoConfig.from_pretrained(store.path, local_files_only=True).to_dict() for store in (theirs, ours)]
        for key in {**configs[0], **configs[1]}.keys() - NO_MATTER:
            there, here = (config.get(key) for config in configs)
            if here != there:
                self._refuse(f"its config.json says {key}: {there}, this model's {here}")

    def _refuse(self, reason: str) -> None:
        raise PrunebenchError(
            f"{self.params.model} is no pruned version of this model: {reason}. "
            "Correct 'model' of the method's entry, or the grid"
        )
