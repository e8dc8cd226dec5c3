"""Tensors on disk by name: as they are, and packed pruned ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from prunebench.checkpoints import full_name
from prunebench.engine import packing
from prunebench.errors import PrunebenchError


class TensorStore(Mapping[str, Tensor]):
    """The tensors of a safetensors file, or of all those in a directory, memory-mapped, by `full_name`."""

    def __init__(self, path: Path, dtype: torch.dtype | None = None) -> None:
        """With `dtype`, floating-point tensors are rounded to it as they are read."""
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        if not files:
            raise PrunebenchError(f"{path} holds no .safetensors file")
        self.path = path
        self._dtype = dtype
        self._where: dict[str, tuple[Any, str]] = {}
        for file in files:
            handle = safe_open(file, framework="pt")
            stored = handle.keys()
            self._where |= {full_name(name): (handle, name) for name in stored}

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def __getitem__(self, name: str) -> Tensor:
        handle, stored = self._where[name]
        tensor: Tensor = handle.get_tensor(stored)
        return tensor.to(self._dtype) if self._dtype and tensor.is_floating_point() else tensor


class PackedStore(Mapping[str, Tensor]):
    """The tensors that `packing.pack` put into a safetensors file, unpacked as they are read, by their own names."""

    def __init__(self, path: Path, base: TensorStore) -> None:
        """`base`: the model that was pruned, rounded to the dtype of the pruned tensors.

        PrunebenchError if it lacks a tensor of the file; reading a tensor raises it too if shapes differ.
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
