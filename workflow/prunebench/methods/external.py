"""External: a pruned checkpoint that somebody else made is measured like every other cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from prunebench.config.values import Slug
from prunebench.engine.contract import BlockResult, Method, PrunedLinear
from prunebench.errors import PrunebenchError
from prunebench.lazy import torch
from prunebench.plugin import Parameters

if TYPE_CHECKING:
    from prunebench.engine.block import BlockView
    from prunebench.storage.tensors import TensorStore

NO_MATTER = {"_name_or_path", "architectures", "dtype", "tie_word_embeddings", "transformers_version", "use_cache"}
"""Keys of config.json that change no number; whether heads are tied shows in the tensors."""


class External(Method):
    """Replace all tensors by those of a pruned model of the catalog.
    That model was pruned elsewhere. Its sparsity is measured, and tables show it in the column of that sparsity.

        methods:
          their_wanda: {method: external, params: {model: their_checkpoint}}

    Tensors other than the pruned linears (norms, biases, embeddings) may differ too, as after fine-tuning. Both models
    must have the same parameters in the same shapes, and config.json files that agree on all that changes a number;
    otherwise the job stops and says what differs. Grids cannot name `external` itself, only such an entry.
    """

    class Params(Parameters):
        """Parameters of an external checkpoint."""

        model: Slug = Field(description="catalog name of the pruned checkpoint")

    name = "external"
    title = "External checkpoint"
    uses: ClassVar[frozenset[str]] = frozenset()

    @property
    def assets(self) -> tuple[str, ...]:
        """The checkpoint, as `models/NAME`."""
        return (f"models/{self.params.model}",)

    def prune_block(self, block: BlockView, *_: Any) -> BlockResult:
        """Return the checkpoint's tensors of this block, and with block 0 also those outside all blocks."""
        source = block.asset(*self.assets)
        if block.index == 0:
            self._check(block, source)
        linears = {linear: PrunedLinear(source[f"{name}.weight"]) for linear, name in block.full_names.items()}
        replaced = {f"{name}.weight" for name in block.full_names.values()}
        others = [name for name in block.parameters if name not in replaced and self._belongs(name, block)]
        return BlockResult(linears, tensors={name: source[name] for name in others if name in block.original})

    def _belongs(self, name: str, block: BlockView) -> bool:
        owner = block.owner(name)
        return owner == block.index or (owner is None and block.index == 0)

    def _check(self, block: BlockView, source: TensorStore) -> None:
        """Raise PrunebenchError unless both models compute alike and have the same parameters in the same shapes."""
        from transformers import AutoConfig

        ours = block.original
        for name in block.parameters:
            our_shape, their_shape = ([*store[name].shape] if name in store else "nothing" for store in (ours, source))
            # A checkpoint may hold a copy of a tied tensor.
            copy = name in source and name not in ours and torch.equal(source[name], source[block.parameters[name]])
            if our_shape != their_shape and not copy:
                self._refuse(f"{name} is {their_shape} there and {our_shape} here")
        configs = [
            AutoConfig.from_pretrained(store.path, local_files_only=True, trust_remote_code=False).to_dict()
            for store in (source, ours)
        ]
        for key in {**configs[0], **configs[1]}.keys() - NO_MATTER:
            their_value, our_value = (config.get(key) for config in configs)
            if our_value != their_value:
                self._refuse(f"its config.json says {key}: {their_value}, this model's {our_value}")

    def _refuse(self, reason: str) -> None:
        raise PrunebenchError(
            f"{self.params.model} is no pruned version of this model: {reason}. "
            "Correct 'model' of the method's entry, or the grid"
        )
