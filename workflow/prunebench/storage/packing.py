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

from prunebench.storage.packed import MASK as MASK
from prunebench.storage.packed import SCALES as SCALES
from prunebench.storage.packed import VALUES as VALUES

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


def pack_alone(name: str, tensor: Tensor, group: int | None = None) -> dict[str, Tensor]:
    """Pack a contiguous CPU matrix [rows, in] without the unpruned one: every bit of it comes back, that of -0 too.

    With `group`, the values are of 8 bits: int8 [nnz], and float32 scales [rows, ceil(in / group)], see `quantised`.
    A matrix with so few zeros that packing would not pay stays as it is.
    """
    mask, values = bits_and_values(tensor)
    parts = {name + MASK: mask, name + VALUES: values}
    if group is not None:
        parts[name + VALUES], parts[name + SCALES] = quantised(values, mask, tensor, group)
    return parts if sum(part.nbytes for part in parts.values()) < tensor.nbytes else {name: tensor}


def bits_and_values(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The bitmask of a contiguous CPU tensor and the values that it keeps, which are all but +0."""
    whole = tensor.view(_INTEGERS[tensor.element_size()])
    return bitmask(whole), nonzeros(whole).view(tensor.dtype)


def quantised(values: Tensor, mask: Tensor, tensor: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """The `values` [nnz] of a matrix [rows, in] in 8 bits, and the scales float32 [rows, ceil(in / group)].

    The scale of `group` columns of a row is their greatest magnitude divided by 127, and a value is the nearest
    multiple of its scale.
    """
    rows, width = tensor.shape
    padded = torch.nn.functional.pad(tensor.float().abs(), (0, -width % group))
    scales = padded.view(rows, -1, group).amax(dim=2) / 127
    divisors = scale_of_values(scales, mask, width, group)
    whole = torch.where(divisors > 0, values.float() / divisors, 0.0).round().clamp(-127, 127)
    return whole.to(torch.int8), scales


def scale_of_values(scales: Tensor, mask: Tensor, width: int, group: int) -> Tensor:
    """The scale, float32 [nnz], of each kept value of a matrix with the bitmask `mask` and `width` columns."""
    kept = torch.from_numpy(_bits(mask, width).view(bool))
    return scales.repeat_interleave(group, dim=1)[:, :width][kept]


def unpack_alone(
    mask: Tensor, values: Tensor, scales: Tensor | None, *, width: int, group: int | None, dtype: torch.dtype
) -> Tensor:
    """The matrix [rows, width] in `dtype` from the parts that `pack_alone` made.

    Raises ValueError if they do not belong together.
    """
    if mask.shape[-1] != -(-width // 8):
        raise ValueError(f"a mask of {mask.shape[-1]} bytes per row does not belong to {width} columns")
    if scales is not None:
        factors = scale_of_values(scales, mask, width, group or width)
        if len(factors) != len(values):
            raise ValueError(f"{len(values)} values for {len(factors)} places")
        values = (values.float() * factors).to(dtype)
    return filled(values, mask, width)


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
