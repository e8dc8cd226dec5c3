"""Failures by numbers that are not finite: each says in which block and tensor they are, and what helps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from prunebench.engine.statistics import SiteStatistic
from prunebench.errors import CellFailure
from prunebench.formulas.finite import are_finite, count_not_finite, is_finite
from prunebench.storage.tensors import TensorStore


def check_block(module: nn.Module, prefix: str, stored: TensorStore) -> None:
    """Raise CellFailure if a weight of a block, `module`, is not finite, in its file or in the dtype of the passes.

    `prefix` comes before the names in the block, and `stored` has the tensors of the files by full name.
    """
    if are_finite(parameter.detach() for parameter in module.parameters()):
        return
    for path, parameter in module.named_parameters():
        if is_finite(parameter.detach()):
            continue
        name = f"{prefix}{path}"
        count = count_not_finite(parameter)
        if name in stored and is_finite(stored[name]):
            raise CellFailure(
                f"{name}: {count} weights are too large for {_title(parameter.dtype)}: "
                "compute in another dtype (bfloat16 or float32)"
            )
        raise CellFailure(_damage(name, parameter, stored))


def cause(stored: TensorStore, dtype: torch.dtype) -> str:
    """Say what helps where a forward or backward pass in `dtype` overflows: the files of the model may be damaged.

    Every tensor of the files is read, one at a time.
    """
    for name in stored:
        if (tensor := stored[name]).is_floating_point() and not is_finite(tensor):
            return _damage(name, tensor, stored)
    return advice(dtype)


def _damage(name: str, tensor: Tensor, stored: TensorStore) -> str:
    where = f" in {stored.file(name).name}" if name in stored else ""
    count = count_not_finite(tensor)
    return f"{name} holds NaN or infinity ({count} of its values{where}): take an undamaged copy of the model"


def check_states(hidden: Sequence[Tensor], block: int) -> None:
    """Raise CellFailure if the outputs of a block, batches [batch, seqlen, hidden], are not finite."""
    if not are_finite(hidden):
        raise CellFailure(f"the outputs of block {block} are NaN or infinite: {advice(hidden[0].dtype)}")


def check_statistic(statistic: SiteStatistic, linears: Iterable[str]) -> None:
    """Raise CellFailure if the statistics of the inputs of `linears` (full names) are not finite."""
    sample = statistic.sample
    if sample is None or statistic.is_finite:
        return
    inputs = f"the inputs of {', '.join(linears)} on the calibration tokens"
    if is_finite(sample) and sample.abs().max() > OVERFLOWING:
        raise CellFailure(f"{inputs} are as large as {sample.abs().max():.1e}, and their products overflow float32")
    raise CellFailure(f"{inputs} are NaN or infinite: {advice(sample.dtype)}")


OVERFLOWING = 1e18
"""Inputs beyond this have products whose sum may exceed the largest float32, 3.4e38."""


def advice(dtype: torch.dtype) -> str:
    """Say what helps where the numbers of a forward pass in `dtype` overflow."""
    if dtype == torch.float16:
        return "float16 overflows at 65504, so compute in bfloat16 or float32"
    return f"{_title(dtype)} overflows only at 3.4e38, so the model is destroyed, or its weights are damaged"


def _title(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
