"""The keys and values that a model keeps of earlier tokens. Releases of transformers give them two names."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import PreTrainedModel

from prunebench.errors import PrunebenchError

NAMES = ("cache", "past_key_values")
"""The names of the argument and of the output: since transformers 5.24, and before."""


def cache_name(model: PreTrainedModel) -> str:
    """The name of the argument by which `model` takes the keys and values of earlier tokens."""
    known = inspect.signature(model.forward).parameters
    return next((name for name in NAMES if name in known), NAMES[-1])


def going_on(model: PreTrainedModel, cache: Any) -> dict[str, Any]:
    """The arguments with which `model` goes on after the tokens of `cache` (None: none), and keeps all of them."""
    return {cache_name(model): cache, "use_cache": True}


def cache_of(output: Any) -> Any:
    """The keys and values in the `output` of a forward pass that kept them. PrunebenchError if there are none."""
    cache = next((value for name in NAMES if (value := getattr(output, name, None)) is not None), None)
    if cache is None:
        raise PrunebenchError("the model keeps no keys and values of earlier tokens, so it cannot write text here")
    return cache
