"""Packed sparse tensors: a bitmask with one bit per weight, set if the weight is not zero, and the nonzero values.

Bits of a row [in] fill bytes from the highest bit, as in numpy's packbits; the last byte is padded with clear bits.
Weights are handled as integers of their width, so that every value keeps its bits; only -0 becomes 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASK, VALUES = ".mask", ".values"
"""The suffixes of a tensor's name for the two parts of its packed form."""

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def pack(name: str, tensor: Tensor, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The smallest form of a contiguous CPU tensor: a map from the names of its parts to tensors.

    If all nonzero values equal those in `base`, it is the bitmask alone, uint8 [..., ceil(in / 8)]; otherwise the
    bitmask and the values [nnz]. Vectors, and tensors with so few zeros that packing would not pay, stay as they are.
    """
    if tensor.dim() < 2:
        return {name: tensor}
    mask = bitmask(tensor)
    if torch.equal(masked(base[name].to(tensor.dtype), mask), tensor):
        return {name + MASK: mask}
    kept = nonzeros(tensor)
    return {name + MASK: mask, name + VALUES: kept} if mask.nbytes + kept.nbytes < tensor.nbytes else {name: tensor}


def unpack(name: str, parts: Mapping[str, Tensor], base: Tensor) -> Tensor:
    """The tensor `name` from its packed `parts`; `base` is that tensor in the unpruned model, in the same dtype.

    Raises ValueError if they cannot have had the same shape.
    """
    mask = parts.get(name + MASK)
    stored, shape = (parts[name], base.shape) if mask is None else (mask, _mask_shape(base.shape))
    if stored.shape != shape:
        raise ValueError(f"a part of shape {tuple(stored.shape)} does not belong to shape {tuple(base.shape)}")
    if mask is None:
        return stored
    values = parts.get(name + VALUES)
    return masked(base, mask) if values is None else filled(values, mask, base.shape[-1])


def bitmask(tensor: Tensor) -> Tensor:
    """The bitmask of a tensor [..., in]: uint8 [..., ceil(in / 8)], with a bit set for each nonzero element."""
    return torch.from_numpy(np.packbits((tensor != 0).numpy(), axis=-1))


def nonzeros(tensor: Tensor) -> Tensor:
    """The nonzero elements [nnz] of a tensor, in the order of memory."""
    return torch.from_numpy(np.compress((tensor != 0).numpy().ravel(), _integers(tensor).ravel())).view(tensor.dtype)


def masked(tensor: Tensor, mask: Tensor) -> Tensor:
    """`tensor` [..., in] with 0 wherever `mask`, a bitmask for its shape, has no bit."""
    # A product of integers is faster than a selection, and removes NaN too.
    return torch.from_numpy(_integers(tensor) * _bits(mask, tensor.shape[-1])).view(tensor.dtype)


def filled(values: Tensor, mask: Tensor, width: int) -> Tensor:
    """A tensor [..., width] with `values` [nnz] in order where `mask` has a bit, else 0. ValueError if nnz differs."""
    places = np.flatnonzero(_bits(mask, width).view(bool))
    if len(places) != len(values):
        raise ValueError(f"{len(values)} values for {len(places)} places")
    tensor = np.zeros(mask.shape[:-1].numel() * width, dtype=_integers(values).dtype)
    tensor[places] = _integers(values)
    return torch.from_numpy(tensor).view(values.dtype).view(*mask.shape[:-1], width)


def _mask_shape(shape: torch.Size) -> torch.Size:
    return torch.Size((*shape[:-1], -(-shape[-1] // 8)))


def _bits(mask: Tensor, width: int) -> NDArray[np.uint8]:
    return np.unpackbits(mask.numpy(), axis=-1, count=width)


def _integers(tensor: Tensor) -> NDArray[np.signedinteger[Any]]:
    """The bits of a 16-, 32- or 64-bit tensor as integers: numpy has no bfloat16."""
    return tensor.view(_INTEGERS[tensor.element_size()]).numpy()
