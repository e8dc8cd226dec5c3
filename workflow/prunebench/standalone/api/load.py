"""The function `prunebench.load`."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from prunebench.errors import PrunebenchError
from prunebench.packed.load import load_packed
from prunebench.standalone.api.calling import no_bars
from prunebench.standalone.arguments import check_arguments, dtype_of, is_path
from prunebench.storage.files import named_path


def load(
    directory: str | Path, *, dtype: str | torch.dtype | None = None, device: str | torch.device = "cpu"
) -> PreTrainedModel:
    """Load the model in `directory` to run it: a packed model computes on its packed weights.

    The result is a transformers model, for `generate` or lm-eval's HFLM. Forward passes use `dtype` (default: the dtype
    of the weights), which leaves packed values as they are. A directory that is not packed gives the usual model. On a
    GPU weights are dense. The other functions take the model as it is in memory, by a dense copy; `speed` takes the
    directory. Raises PrunebenchError if a file is missing or damaged.
    """
    if not is_path(directory):
        raise PrunebenchError("'directory' is no path: give the name of a model directory")
    if dtype is not None:
        check_arguments({}, {"dtype": dtype})
    chosen = None if dtype is None else getattr(torch, dtype_of(dtype) or "")
    with no_bars():
        return load_packed(named_path(directory, "'directory'"), chosen, str(device))
