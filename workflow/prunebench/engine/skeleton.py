"""A model without weights, made from config.json and compared with the files that are to fill it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from prunebench.engine.anatomy import linear_sizes
from prunebench.engine.fused import split_fused
from prunebench.errors import PrunebenchError, summary
from prunebench.models.base import Family
from prunebench.models.configs import dimensions
from prunebench.storage.advice import absent
from prunebench.storage.layout import CONFIG, read_config
from prunebench.storage.tensors import TensorStore

log = logging.getLogger("prunebench")


def check_model(directory: Path, family: type[Family]) -> None:
    """Compare the files of a model directory with its config.json, from headers alone.

    Raises PrunebenchError, of one line, if transformers cannot make the model from them.
    """
    # The number of blocks is checked first: config.json may ask for a billion.
    linear_sizes(directory, family)
    tensors = TensorStore(directory)
    model = skeleton(directory, family, None)
    check_tensors(model, tensors, tie(model, tensors))


def skeleton(directory: Path, family: type[Family], dtype: torch.dtype | None) -> Any:
    """The model that config.json describes, without weights. PrunebenchError if transformers cannot make it."""
    try:
        # The dtype in config.json may be unknown to transformers; tensors have their own dtypes.
        options = {"local_files_only": True, "dtype": torch.float32}
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False, **options)
        config.return_dict = True  # outputs of the model are read by name
    # Each value of config.json has a check of its own, which may raise any exception.
    except Exception as error:
        raise PrunebenchError(f"{directory / CONFIG}: transformers cannot read it ({summary(error)})") from None
    if config.model_type not in family.model_types:
        raise PrunebenchError(
            f"{directory} is a {config.model_type!r} model, which family {family.name!r} does not read "
            f"({', '.join(sorted(family.model_types))}): mend 'family' of its catalog entry"
        )
    try:
        with init_empty_weights(include_buffers=False):
            model = getattr(transformers, family.auto).from_config(config, dtype=dtype, trust_remote_code=False)
    except Exception as error:
        raise PrunebenchError(
            f"{directory / CONFIG}: transformers cannot make a model of these values ({summary(error)})"
        ) from None
    _fill_buffers(model)
    if family.fused:
        split_fused(model, family, dimensions(read_config(directory), directory / CONFIG), directory)
    return model.eval().requires_grad_(False)


def _fill_buffers(model: PreTrainedModel) -> None:
    """Compute the tables that files do not hold (mostly positions) in float32, as `from_pretrained` does.

    The constructor of the model computes them in the dtype of its weights, which rounds GPT-J's.
    """
    with torch.no_grad():
        for module in model.modules():
            if next(module.buffers(recurse=False), None) is not None:
                model._init_weights(module)


def tie(model: PreTrainedModel, tensors: TensorStore) -> dict[str, str]:
    """A map from parameters of `model` that the files do not hold to the tensors that transformers ties them to.

    If the files hold both of a tied pair, and they differ, `model` is untied and a warning says so.
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


def check_tensors(model: PreTrainedModel, tensors: TensorStore, stand_ins: Mapping[str, str]) -> None:
    """Raise PrunebenchError unless `tensors` hold every parameter of `model`, in its shape and as floats."""
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


def equal(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors hold the same numbers; compared along the first axis, so that no copy of both is made."""
    return first.shape == second.shape and all(map(torch.equal, first, second))
