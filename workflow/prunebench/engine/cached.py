"""The keys and values that a model keeps of earlier tokens. Releases of transformers give them two names."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import PreTrainedModel

NAMES = ("cache", "past_key_values")
"""The names of the argument and of the output: since transformers 5.24, and before."""


def going_on(model: PreTrainedModel, cache: Any) -> dict[str, Any]:
    """The arguments with which `model` goes on after the tokens of `cache` (None: none), and keeps all of them."""
    known = inspect.signature(model.forward).parameters
    name = next((name for name in NAMES if name in known), NAMES[-1])
    return {name: cache, "use_cache": True}


def cache_of(output: Any) -> Any:
    """The keys and values in the `output` of a forward pass that kept them."""
    return next(value for name in NAMES if (value := getattr(output, name, None)) is not None)
