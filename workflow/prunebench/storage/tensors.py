"""Tensors on disk by name: those of model directories and safetensors files, and packed pruned ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from prunebench.config.values import STORED
from prunebench.errors import PrunebenchError
from prunebench.formulas.rows import rows_of
from prunebench.storage import packing
from prunebench.storage.checkpoints import check_seal
from prunebench.storage.expected import check
from prunebench.storage.layout import FLOATS, Place, places, read_layout
from prunebench.storage.parts import Part, parts
from prunebench.storage.sealed import Damaged


def storage_dtype(text: str) -> torch.dtype | None:
    """The torch dtype that a spec names; None for `stored`, with which each weight keeps the dtype of its file."""
    return None if text == STORED else getattr(torch, text)


class PackedParts(NamedTuple):
    """A packed matrix [rows, width] as its file has it (see `packing.pack_alone`)."""

    mask: Tensor
    values: Tensor
    scales: Tensor | None
    group: int | None
    width: int
    dtype: torch.dtype
    """The dtype of the matrix before it was packed."""


class TensorStore(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, or of a model directory by full name, each read when it is asked for.

    Tensors are copies. While a file is mapped, the pages that were read count as memory of the process, and with them
    a model that is larger than memory would exceed what a batch system allows.
    A file is checked before its first tensor is read, if its digest is known (see `storage.expected`).
    The parts of a fused matrix of a model are tensors of their own.
    """

    def __init__(self, path: Path, dtype: torch.dtype | None = None) -> None:
        """With `dtype`, floating-point tensors are rounded to it as they are read; without, they are as stored.

        Tensors of a model outside its language model are always as stored.

        Raises PrunebenchError if a file is damaged, or if `from_pretrained` would not load the directory as it is.
        """
        self.path = path
        self._dtype = dtype
        layout = read_layout(path) if path.is_dir() else None
        self._parts = {at.stored: Part(at) for at in places(path)} if layout is None else parts(layout)
        self._family = layout.family if layout else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __getitem__(self, name: str) -> Tensor:
        place, rows = self._parts[name].place, self._parts[name].rows
        tensor = self._packed(place) if place.packed else self._stored(place.file, place.stored)
        if rows is not None:
            tensor = rows_of(tensor, rows)
        rounded = tensor.is_floating_point() and (self._family is None or self._family.is_language(name))
        dtype = self._dtype if self._dtype and rounded else tensor.dtype
        return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)

    def is_packed(self, name: str) -> bool:
        """Whether the matrix `name` is packed in its file, alone or as a part of another one."""
        return self._parts[name].place.packed

    def packed(self, name: str) -> PackedParts | None:
        """The packed form of the matrix `name` in its file, of which nothing is expanded; None if it has none alone."""
        place, rows = self._parts[name].place, self._parts[name].rows
        return self._read_parts(place) if place.packed and rows is None else None

    def _stored(self, path: Path, stored: str) -> Tensor:
        check(path)
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(stored)
        return tensor

    def _read_parts(self, place: Place) -> PackedParts:
        check_seal(place.file)
        mask, values = (self._stored(place.file, place.stored + part) for part in (packing.MASK, packing.VALUES))
        scales = self._stored(place.file, place.stored + packing.SCALES) if place.group else None
        return PackedParts(mask, values, scales, place.group, place.shape[1], getattr(torch, FLOATS[place.dtype]))

    def _packed(self, place: Place) -> Tensor:
        parts = self._read_parts(place)
        try:
            return packing.unpack_alone(
                parts.mask, parts.values, parts.scales, width=parts.width, group=parts.group, dtype=parts.dtype
            )
        except ValueError as error:
            raise Damaged(place.file, f"is damaged ({place.stored}: {error})") from None

    def dtype(self, name: str) -> torch.dtype:
        """The dtype in which the tensor `name` is stored."""
        stored = self._parts[name].place.dtype
        return getattr(torch, FLOATS[stored]) if stored in FLOATS else self[name].dtype

    def file(self, name: str) -> Path:
        """The file that holds the tensor `name`."""
        return self._parts[name].place.file

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the tensor `name`, from its file's header."""
        return self._parts[name].shape


class PackedStore(Mapping[str, Tensor]):
    """The tensors that `packing.pack` put into a safetensors file, by name; they are unpacked as they are read."""

    def __init__(self, path: Path, base: TensorStore) -> None:
        """`base` is the model that was pruned, rounded to the dtype of the pruned tensors.

        Raises PrunebenchError if it lacks a tensor of the file. To read a tensor raises it too if shapes differ.
        """
        self._parts, self._base = TensorStore(path), base
        self._names = {part.removesuffix(packing.VALUES).removesuffix(packing.MASK): None for part in self._parts}
        if strangers := [name for name in self._names if name not in base]:
            raise PrunebenchError(
                f"{path} holds {strangers[0]!r}, which {base.path} does not have: it was made from another model"
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        try:
            return packing.unpack(name, self._parts, self._base[name])
        except ValueError as error:
            raise PrunebenchError(
                f"{self._parts.path}: {name} was made from another model, or is damaged: {error}"
            ) from error
