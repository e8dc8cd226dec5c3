"""A causal language model of which only one decoder block at a time is in memory.

Everything outside the blocks (embeddings, rotary tables, masks, final norm, head) is run by transformers' own code:
the blocks in the module tree are replaced by ports that record what the model hands to a block, or hand a stored
hidden state back to the model. Nothing of an architecture is written again here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import dispatch_model, init_empty_weights
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.fused import split_fused
from prunebench.engine.placement.device import cards, spread
from prunebench.engine.placement.memory import give_back_freed_pages, keep_freed_pages
from prunebench.errors import PrunebenchError, summary
from prunebench.models.base import Family
from prunebench.models.configs import dimensions
from prunebench.storage.layout import CONFIG, absent, read_config
from prunebench.storage.tensors import TensorStore

log = logging.getLogger("prunebench")


@dataclass(frozen=True)
class BlockCall:
    """The arguments besides the hidden state that the model passes to one block: masks, position embeddings."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def of_sample(self, row: int, single: BlockCall) -> BlockCall:
        """The arguments for one sample of the batch that these are for; `single`: those for some batch of one."""

        def narrow(value: Any, one: Any) -> Any:
            if isinstance(value, (tuple, list)):
                return type(value)(map(narrow, value, one))
            # What looks alike for one sample and for many is shared. Of the rest a sample may have several rows: ALiBi
            # has one for every head.
            if isinstance(value, Tensor) and value.shape != one.shape:
                return value[row * len(one) : (row + 1) * len(one)]
            return value

        kwargs = {name: narrow(value, single.kwargs[name]) for name, value in self.kwargs.items()}
        return BlockCall(narrow(self.args, single.args), kwargs)


class StreamedModel:
    """Weights on `meta` until a block is opened. `overrides` replaces single tensors (pruned weights)."""

    def __init__(
        self,
        directory: Path,
        family: type[Family],
        *,
        dtype: torch.dtype | None,
        storage: torch.dtype | None,
        device: torch.device | str = "cpu",
        overrides: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Load all but the blocks. PrunebenchError if the directory is not a whole model of `family`.

        Every weight is rounded to `storage`, the dtype in which cells are stored and compared, then used in `dtype`.
        Without `storage` a weight keeps the dtype of its file; without `dtype` it is used in the dtype of its storage.
        """
        keep_freed_pages()
        self.family, self.device = family, torch.device(device)
        self.dtype, self.storage = dtype, storage
        self.tensors = TensorStore(directory)
        self._overrides = overrides if overrides is not None else {}
        if strangers := [name for name in self._overrides if name not in self.tensors]:
            raise PrunebenchError(f"the pruned weights hold {strangers[0]!r}, which {directory} does not have")
        self._model = _skeleton(directory, family, dtype)
        self._stand_ins = _tie(self._model, self.tensors)
        _check_tensors(self._model, self.tensors, self._stand_ins)
        self._blocks: list[nn.Module] = list(self._model.get_submodule(family.blocks))
        self._example = deepcopy(self._blocks[0])
        """A first block that nobody else looks at, to see what blocks return."""
        self._ports = [_Port(block) for block in self._blocks]
        self._put_in_place(self._ports)
        self._load(self._model, prefix="", skip=f"{family.blocks}.")
        self._model.tie_weights(recompute_mapping=False)
        self._model.to(self.device)

    @property
    def blocks(self) -> int:
        """Number of decoder blocks."""
        return len(self._blocks)

    @property
    def parameters(self) -> dict[str, str]:
        """The full names of all parameters, each with the one that it is tied to, or itself."""
        outside = [name for name, _ in self._model.named_parameters(remove_duplicate=False)]
        inside = [
            f"{self.family.blocks}.{index}.{name}"
            for index, block in enumerate(self._blocks)
            for name, _ in block.named_parameters()
        ]
        return {name: self._model.all_tied_weights_keys.get(name, name) for name in outside + inside}

    def stored(self, name: str) -> Tensor:
        """The parameter called `name` in the dtype that it is stored in, on the CPU; pruned where it is overridden."""
        origin = self._stand_ins.get(name, name)
        tensor = (self._overrides if origin in self._overrides else self.tensors)[origin]
        return tensor if self.storage is None else tensor.to(self.storage)

    def stored_dtype(self, name: str) -> torch.dtype:
        """The dtype that the parameter called `name` is stored in."""
        return self.storage or self.tensors.dtype(self._stand_ins.get(name, name))

    @property
    def context(self) -> int | None:
        """The longest sequence that the model was made for; None if it takes sequences of any length."""
        lengths = (getattr(self._model.config, key, None) for key in ("max_position_embeddings", "max_seq_len"))
        return next((length for length in lengths if isinstance(length, int)), None)

    def check_length(self, seqlen: int) -> None:
        """PrunebenchError if sequences of `seqlen` tokens are longer than the model was made for."""
        if self.context is not None and seqlen > self.context:
            raise PrunebenchError(
                f"sequences of {seqlen} tokens are longer than the model's context of {self.context}: "
                "use shorter ones (--seqlen, 'seqlen' of the suite, the length in 'calibration', narrower token ids)"
            )

    def whole(self, beside: int = 0) -> PreTrainedModel:
        """The transformers model itself with all blocks in memory. From then on this object is of no use.

        Where the first GPU has no room for all blocks, the last ones are on others that are visible, and what passes
        between them moves. `beside`: bytes that the caller will add for every weight of a block. Raises PrunebenchError
        if there is no room.
        """
        devices, rooms = zip(*cards(self.device), strict=True)
        sizes = [sum(p.numel() * (p.element_size() + beside) for p in block.parameters()) for block in self._blocks]
        places = spread(sizes, rooms)
        for index, (block, place) in enumerate(zip(self._blocks, places, strict=True)):
            self._load(block, prefix=f"{self.family.blocks}.{index}.")
            block.to(devices[place])
        self._put_in_place(self._blocks)
        model: PreTrainedModel = self._model
        if not any(places):
            return model
        placed = {f"{self.family.blocks}.{index}": devices[place] for index, place in enumerate(places)}
        # The hooks are forced: accelerate takes two GPUs of one name, as tests have them, for one.
        spread_model: PreTrainedModel = dispatch_model(
            model, {"": devices[0], **placed}, main_device=devices[0], force_hooks=True
        )
        return spread_model

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        """Block `index` with its weights in memory, as long as the context lasts."""
        block = self._blocks[index]
        self._load(block, prefix=f"{self.family.blocks}.{index}.")
        block.to(self.device)
        try:
            yield block
        finally:
            block.to("meta")
            give_back_freed_pages()

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> tuple[Tensor, list[BlockCall]]:
        """Token ids [batch, seqlen] -> (input of block 0 [batch, seqlen, hidden], one BlockCall per block)."""
        self.check_length(tokens.shape[1])
        for port in self._ports:
            port.record(as_tuple=self._in_tuples)
        self._model.base_model(input_ids=tokens.to(self.device), use_cache=False)
        hidden = self._ports[0].hidden
        assert hidden is not None
        return hidden, [port.call for port in self._ports]

    @torch.no_grad()
    def logits(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """The model's logits [batch, seqlen, vocabulary], where `hidden` is the output of the last block."""
        for port in self._ports:
            port.replay(hidden.to(self.device), as_tuple=self._in_tuples)
        result: Tensor = self._model(input_ids=tokens.to(self.device), use_cache=False).logits
        return result

    @cached_property
    def _in_tuples(self) -> bool:
        """Whether blocks of this architecture return a tuple, as the first one does when it runs on one token."""
        answers: list[Any] = []
        self._load(self._example, prefix=f"{self.family.blocks}.0.")
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
        """Fill `module`'s parameters from the files, except those whose full name starts with `skip`."""
        state = {
            name: self.stored(prefix + name).to(dtype=self.dtype)
            for name, _ in module.named_parameters(remove_duplicate=False)
            if not (skip and name.startswith(skip))
        }
        module.load_state_dict(state, assign=True, strict=False)


def check_model(directory: Path, family: type[Family]) -> None:
    """Compare the model directory's files with what its config.json says, from headers alone.

    Raises PrunebenchError in one line if transformers could not make the model of them.
    """
    # First: a config.json that asks for a billion blocks is not worth making.
    linear_sizes(directory, family)
    tensors = TensorStore(directory)
    model = _skeleton(directory, family, None)
    _check_tensors(model, tensors, _tie(model, tensors))


def _skeleton(directory: Path, family: type[Family], dtype: torch.dtype | None) -> Any:
    """The model that config.json describes, without weights; PrunebenchError if transformers cannot make it."""
    try:
        # Its own dtype may be one that transformers does not know; the tensors have theirs.
        options = {"local_files_only": True, "trust_remote_code": False, "dtype": torch.float32}
        config = AutoConfig.from_pretrained(directory, **options)
        config.return_dict = True  # what the model answers is read by name
    # Whatever is wrong with config.json: each of its values has a check of its own, which raises what it likes.
    except Exception as error:
        raise PrunebenchError(f"{directory / CONFIG}: transformers cannot read it ({summary(error)})") from None
    if config.model_type not in family.model_types:
        raise PrunebenchError(
            f"{directory} is a {config.model_type!r} model, which family {family.name!r} does not read "
            f"({', '.join(sorted(family.model_types))}): mend 'family' of its catalog entry"
        )
    try:
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    except Exception as error:
        raise PrunebenchError(
            f"{directory / CONFIG}: transformers cannot make a model of these values ({summary(error)})"
        ) from None
    _fill_buffers(model)
    if family.fused:
        split_fused(model, family, dimensions(read_config(directory), directory / CONFIG), directory)
    return model.eval().requires_grad_(False)


def _fill_buffers(model: PreTrainedModel) -> None:
    """Compute the tables that files do not hold (positions, mostly) as `from_pretrained` does: in float32.

    They were computed while the model was made, in the dtype of its weights: GPT-J's would be rounded on the way.
    """
    with torch.no_grad():
        for module in model.modules():
            if next(module.buffers(recurse=False), None) is not None:
                model._init_weights(module)


def _tie(model: PreTrainedModel, tensors: TensorStore) -> dict[str, str]:
    """Parameters of `model` that the files do not hold -> the tensors that stand for them, as transformers ties them.

    Where the files hold both of a tied pair, and they differ, `model` is untied and a warning says so.
    """
    tied: dict[str, str] = model.all_tied_weights_keys
    stand_ins = {}
    for name, source in list(tied.items()):
        if name not in tensors:
            stand_ins[name] = source
        elif source not in tensors:
            stand_ins[source] = name
        elif not equal(tensors[name], tensors[source]):
            log.warning(
                "%s: config.json ties %s to %s, but the files hold two different tensors: each is used, as "
                "transformers does",
                tensors.path,
                name,
                source,
            )
            del tied[name]
    return stand_ins


def _check_tensors(model: PreTrainedModel, tensors: TensorStore, stand_ins: Mapping[str, str]) -> None:
    """PrunebenchError unless `tensors` hold every parameter of `model`, in its shape and as floating-point numbers."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        origin = stand_ins.get(name, name)
        if origin not in tensors:
            raise absent(tensors.path, name, tensors)
        if tensors.shape(origin) != parameter.shape:
            raise PrunebenchError(
                f"{tensors.path}: {origin} has the shape {list(tensors.shape(origin))}, but {CONFIG} asks for "
                f"{list(parameter.shape)}: one of them belongs to another model"
            )
        if not tensors.dtype(origin).is_floating_point:
            raise PrunebenchError(f"{tensors.path}: {origin} is stored as {tensors.dtype(origin)}, not as numbers")


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, row by row of the first axis, so that no copy of both is made."""
    return one.shape == other.shape and all(map(torch.equal, one, other))


class _Port(nn.Module):
    """Stands where a block stood: records the call and passes the hidden state through, or replaces it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        # Not registered as a submodule: models read attributes such as the attention type from their blocks.
        object.__setattr__(self, "_block", block)
        self.record()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "_block"), name)

    def record(self, *, as_tuple: bool = False) -> None:
        """Remember the next call, change nothing; `as_tuple`: the model expects a tuple from its blocks."""
        self.hidden: Tensor | None = None
        self.call = BlockCall((), {})
        self._output: Tensor | None = None
        self._as_tuple = as_tuple

    def replay(self, output: Tensor, *, as_tuple: bool) -> None:
        """Answer calls with `output`, or with a tuple of it."""
        self.record(as_tuple=as_tuple)
        self._output = output

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor]:
        if self._output is None:
            self.hidden, self.call = hidden, BlockCall(args, kwargs)
        output = hidden if self._output is None else self._output
        return (output,) if self._as_tuple else output


def block_output(result: Any) -> Tensor:
    """The hidden state among what a block returns (a tensor, or a tuple that starts with it)."""
    output: Tensor = result[0] if isinstance(result, tuple) else result
    return output
