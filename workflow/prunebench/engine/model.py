"""A causal language model of which only one decoder block at a time is in memory.

Everything outside the blocks (embeddings, rotary tables, masks, final norm, head) is run by transformers' own code:
the blocks in the module tree are replaced by ports that record what the model hands to a block, or hand a stored
hidden state back to the model. Nothing of an architecture is written again here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import dispatch_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from prunebench import registry
from prunebench.engine.ahead import Ahead, Named
from prunebench.engine.placement.device import best_device, cards, distribute, own_memory, page_locked
from prunebench.engine.placement.memory import give_back_freed_pages, keep_freed_pages
from prunebench.engine.skeleton import check_tensors, skeleton, tie
from prunebench.errors import PrunebenchError
from prunebench.models.base import Family
from prunebench.storage.tensors import TensorStore, storage_dtype


@dataclass(frozen=True)
class BlockCall:
    """The arguments that the model passes to one block besides the hidden state: masks, position embeddings."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def of_sample(self, row: int, single: BlockCall) -> BlockCall:
        """The arguments for sample `row` of this batch; `single` are the arguments for any batch of one sample."""

        def narrow(value: Any, example: Any) -> Any:
            if isinstance(value, (tuple, list)):
                return type(value)(map(narrow, value, example))
            # A tensor of the same shape for one sample and for many is shared. In others a sample may have several
            # rows (ALiBi has one for every head), and samples may lie along another axis (Qwen2.5-VL's positions).
            if isinstance(value, Tensor) and value.shape != example.shape:
                axis = next(axis for axis, size in enumerate(example.shape) if size != value.shape[axis])
                size = example.shape[axis]
                return value.narrow(axis, row * size, size)
            return value

        kwargs = {name: narrow(value, single.kwargs[name]) for name, value in self.kwargs.items()}
        return BlockCall(narrow(self.args, single.args), kwargs)


class StreamedModel:
    """A model whose blocks are on `meta` until they are opened, one at a time."""

    def __init__(
        self,
        directory: Path,
        family: type[Family],
        *,
        dtype: torch.dtype | None,
        storage: torch.dtype | None,
        device: torch.device | str | None = None,
        overrides: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Load everything but the blocks, on the best device by default. `overrides` (pruned weights) replace tensors.

        Every weight is rounded to `storage`, the dtype in which cells are stored and compared, then used in `dtype`.
        Without `storage` a weight keeps the dtype of its file; without `dtype` it is used in the dtype of its storage.
        Raises PrunebenchError if the directory is not a whole model of `family`.
        """
        keep_freed_pages()
        self.family, self.device = family, best_device() if device is None else torch.device(device)
        self.dtype, self.storage = dtype, storage
        self.tensors = TensorStore(directory)
        self._overrides = overrides if overrides is not None else {}
        if strangers := [name for name in self._overrides if name not in self.tensors]:
            raise PrunebenchError(f"the pruned weights hold {strangers[0]!r}, which {directory} does not have")
        self._model = skeleton(directory, family, dtype)
        self._stand_ins = tie(self._model, self.tensors)
        check_tensors(self._model, self.tensors, self._stand_ins)
        self._blocks: list[nn.Module] = list(self._model.get_submodule(family.blocks))
        self._example = deepcopy(self._blocks[0])
        """A copy of the first block, which shows what blocks return."""
        self._ports = [_Port(block) for block in self._blocks]
        self._put_in_place(self._ports)
        self._load(self._model, prefix="", skip=f"{family.blocks}.")
        self._model.tie_weights(recompute_mapping=False)
        self._model.to(self.device)
        self._ahead = Ahead()
        # A thread that still reads when Python ends would be torn down in the middle of a call of torch.
        weakref.finalize(self, self._ahead.stop)

    @classmethod
    def opened(
        cls, directory: Path, family: str, *, dtype: str, storage: str, overrides: Mapping[str, Tensor] | None = None
    ) -> StreamedModel:
        """Open a model on the best device; `family`, `dtype` and `storage` are the words of specs."""
        return cls(
            directory,
            registry.load("models", family),
            dtype=storage_dtype(dtype),
            storage=storage_dtype(storage),
            overrides=overrides,
        )

    @property
    def blocks(self) -> int:
        """The number of decoder blocks."""
        return len(self._blocks)

    @property
    def parameters(self) -> dict[str, str]:
        """A map from the full name of each parameter to the parameter that it is tied to, or to itself."""
        outside = [name for name, _ in self._model.named_parameters(remove_duplicate=False)]
        inside = [
            f"{self.family.blocks}.{index}.{name}"
            for index, block in enumerate(self._blocks)
            for name, _ in block.named_parameters()
        ]
        return {name: self._model.all_tied_weights_keys.get(name, name) for name in outside + inside}

    def stored(self, name: str) -> Tensor:
        """The parameter `name` (or its override) in its storage dtype, on the CPU."""
        origin = self._stand_ins.get(name, name)
        tensor = (self._overrides if origin in self._overrides else self.tensors)[origin]
        rounding = self._rounding(origin)
        return tensor if rounding is None else tensor.to(rounding)

    def stored_dtype(self, name: str) -> torch.dtype:
        """The dtype in which the parameter `name` is stored."""
        origin = self._stand_ins.get(name, name)
        return self._rounding(origin) or self.tensors.dtype(origin)

    def _rounding(self, origin: str) -> torch.dtype | None:
        """The dtype to which the tensor `origin` of the files is rounded; None if it keeps its own."""
        return self.storage if self.family.is_language(origin) else None

    @property
    def context(self) -> int | None:
        """The greatest number of tokens of a sequence; None if the model takes sequences of any length."""
        config = self._model.config.get_text_config()
        lengths = (getattr(config, key, None) for key in ("max_position_embeddings", "max_seq_len"))
        return next((length for length in lengths if isinstance(length, int)), None)

    def check_length(self, seqlen: int) -> None:
        """Raise PrunebenchError if `seqlen` tokens are more than the model's context."""
        if self.context is not None and seqlen > self.context:
            raise PrunebenchError(
                f"sequences of {seqlen} tokens are longer than the model's context of {self.context}: "
                "use shorter ones (--seqlen, 'seqlen' of the suite, the length in 'calibration', narrower token ids)"
            )

    def whole(
        self, beside: int = 0, replace: Callable[[nn.Module, str, torch.device], None] | None = None
    ) -> PreTrainedModel:
        """The transformers model itself with all blocks in memory. Afterwards this object cannot be used.

        `replace` may put other modules into a block before it gets its weights. It takes the block, the first part of
        the full names of its modules (with a dot), and the device where it will be.

        If the first GPU has no room for all blocks, the last ones are on other visible GPUs, and hidden states move
        between them. `beside` is the number of bytes that the caller will add for every weight of a block.
        Raises PrunebenchError if there is no room.
        """
        devices, rooms = zip(*cards(self.device), strict=True)
        sizes = [sum(p.numel() * (p.element_size() + beside) for p in block.parameters()) for block in self._blocks]
        places = distribute(sizes, rooms)
        for index, (block, place) in enumerate(zip(self._blocks, places, strict=True)):
            prefix = self._prefix(index)
            if replace is not None:
                replace(block, prefix, devices[place])
            self._load(block, prefix=prefix)
            block.to(devices[place])
        self._put_in_place(self._blocks)
        model: PreTrainedModel = self._model
        if not any(places):
            return model
        # Every module has an entry of its own: one of all ("") would pull the inputs inside blocks to the first device.
        placed = dict.fromkeys(self._outside(), devices[0])
        placed |= {f"{self.family.blocks}.{index}": devices[place] for index, place in enumerate(places)}
        # The hooks are forced: accelerate takes two GPUs of one name, which tests use, for one.
        distributed: PreTrainedModel = dispatch_model(model, placed, main_device=devices[0], force_hooks=True)
        return distributed

    def _outside(self) -> list[str]:
        """The names of the largest modules that hold no block, such as the embedding, the last norm and the head."""
        path = self.family.blocks.split(".")
        names = []
        for depth, kept in enumerate(path):
            parent = ".".join(path[:depth])
            children = self._model.get_submodule(parent).named_children()
            names += [f"{parent}.{child}".removeprefix(".") for child, _ in children if child != kept]
        return names

    def _prefix(self, index: int) -> str:
        """The beginning of the full names of block `index`."""
        return f"{self.family.blocks}.{index}."

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        """Hold the weights of block `index` in memory for as long as the context lasts, and yield the block.

        While an accelerator computes, a thread reads the next block into the host's memory. If that fails, to open the
        next block raises the error. The host's processor would only share its time and memory with the thread.
        """
        block, following = self._blocks[index], index + 1
        try:
            tensors = self._ahead.take(index) or dict(self._read(block, self._prefix(index)))
            block.load_state_dict(tensors, assign=True, strict=False)
            block.to(self.device, non_blocking=self.device.type == "cuda")  # from page-locked memory
            del tensors  # only the device's copies stay
            if own_memory(self.device) and following < self.blocks:
                parameters = self._read(self._blocks[following], self._prefix(following))
                self._ahead.begin(following, ((name, page_locked(tensor, self.device)) for name, tensor in parameters))
            yield block
        except BaseException:
            self._ahead.stop()
            raise
        finally:
            block.to("meta")
            give_back_freed_pages()

    @torch.no_grad()
    def embed(self, tokens: Tensor, **images: Tensor) -> tuple[Tensor, list[BlockCall]]:
        """From token ids [batch, seqlen], the input of block 0 [batch, seqlen, hidden] and one BlockCall per block.

        `images` are the other inputs of a model that sees images. Numbers [batch, seqlen, hidden] in place of token ids
        are the input of block 0 itself, which some models (Granite) scale on the way there: it is returned as it is.
        """
        self.check_length(tokens.shape[1])
        if tokens.is_floating_point():
            embedding = self._model.get_input_embeddings().weight
            given = {"inputs_embeds": tokens.to(self.device, embedding.dtype)}
        else:
            given = {"input_ids": tokens.to(self.device)}
        for port in self._ports:
            port.record(as_tuple=self._in_tuples)
        self._model.base_model(**given, **images, use_cache=False)
        # The arguments of blocks do not depend on the values of embeddings.
        hidden = given["inputs_embeds"] if tokens.is_floating_point() else self._ports[0].hidden
        assert hidden is not None
        return hidden, [port.call for port in self._ports]

    @torch.no_grad()
    def logits(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """The model's logits [batch, seqlen, vocabulary] for the output `hidden` of the last block."""
        for port in self._ports:
            port.replay(hidden.to(self.device), as_tuple=self._in_tuples)
        result: Tensor = self._model(input_ids=tokens.to(self.device), use_cache=False).logits
        return result

    @cached_property
    def _in_tuples(self) -> bool:
        """Whether blocks of this architecture return a tuple; the copy of the first block is run on one token."""
        answers: list[Any] = []
        self._load(self._example, prefix=self._prefix(0))
        self._example.to(self.device).register_forward_hook(lambda _, __, output: answers.append(output))
        self._put_in_place([self._example])
        with torch.no_grad():
            self._model.base_model(input_ids=torch.zeros(1, 1, dtype=torch.int64, device=self.device), use_cache=False)
        self._put_in_place(self._ports)
        self._example.to("meta")
        return isinstance(answers[0], tuple)

    def _put_in_place(self, blocks: Sequence[nn.Module]) -> None:
        parent, _, child = self.family.blocks.rpartition(".")
        setattr(self._model.get_submodule(parent), child, nn.ModuleList(blocks))

    def _load(self, module: nn.Module, *, prefix: str, skip: str | None = None) -> None:
        """Fill `module`'s parameters from the files, except those whose name starts with `skip`."""
        module.load_state_dict(dict(self._read(module, prefix, skip)), assign=True, strict=False)

    def _read(self, module: nn.Module, prefix: str, skip: str | None = None) -> Named:
        """Read the parameters of `module` one after the other, as they are used, on the CPU; see `_load`."""
        for name, _ in module.named_parameters(remove_duplicate=False):
            if not (skip and name.startswith(skip)):
                yield name, self.stored(prefix + name).to(dtype=self.dtype)


class _Port(nn.Module):
    """A stand-in for a block, which records the call and returns the hidden state as it came, or another one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        # The block is no submodule; models read attributes such as the attention type from it, see __getattr__.
        object.__setattr__(self, "_block", block)
        self.record()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "_block"), name)

    def record(self, *, as_tuple: bool = False) -> None:
        """Record the next call and return its hidden state; `as_tuple` if the model expects a tuple from its blocks."""
        self.hidden: Tensor | None = None
        self.call = BlockCall((), {})
        self._output: Tensor | None = None
        self._as_tuple = as_tuple

    def replay(self, output: Tensor, *, as_tuple: bool) -> None:
        """Return `output`, or a tuple of it, from the next calls."""
        self.record(as_tuple=as_tuple)
        self._output = output

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor]:
        if self._output is None:
            self.hidden, self.call = hidden, BlockCall(args, kwargs)
        output = hidden if self._output is None else self._output
        return (output,) if self._as_tuple else output


def block_output(result: Any) -> Tensor:
    """The hidden state in the result of a block, which is a tensor or a tuple that starts with it."""
    output: Tensor = result[0] if isinstance(result, tuple) else result
    return output
