"""The unpruned model as allocators see it: its matrices, one at a time, and its profile."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from prunebench.assets.manifest import read_shape
from prunebench.errors import CellFailure, PluginMistake
from prunebench.models.base import Family
from prunebench.storage.advice import absent
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.layout import CONFIG, read_layout
from prunebench.storage.parts import parts
from prunebench.storage.tensors import TensorStore

Sizes = dict[str, tuple[int, int]]
"""A map from the full name of each linear to (out, in), in the order of the model."""


@dataclass(frozen=True)
class RunInputs:
    """Everything that is needed to run the engine on a model."""

    directory: Path
    family: type[Family]
    storage: torch.dtype | None
    """The dtype in which cells are stored; None if each weight keeps its own."""
    tokens: Tensor
    """int64 [samples, seqlen]."""
    dtype: torch.dtype
    """The dtype of the forward passes."""
    batch_size: int
    seed: int
    scratch: Scratch
    """The place for finished blocks, so that a killed job goes on with the next block."""


class Anatomy:
    """The matrices of a model, and statistics of them. Linears are called by their full names."""

    def __init__(
        self,
        directory: Path,
        family: type[Family],
        storage: torch.dtype | None,
        profile: Path | None = None,
        run: RunInputs | None = None,
    ) -> None:
        """`profile` is the file of rule profile, for allocators that read data; `run` is for those with `runs_model`.

        `storage` is the dtype to which weights are rounded; with None each weight keeps its own.
        """
        self.sizes = linear_sizes(directory, family)
        self._tensors = TensorStore(directory, storage)
        self._family = family
        self._profile = TensorStore(profile) if profile else None
        self._run = run

    @property
    def blocks(self) -> list[tuple[str, ...]]:
        """The linears of each block."""
        count = len(self.sizes) // len(self._family.linears())
        return [
            tuple(self._family.full_name(block, linear) for linear in self._family.linears()) for block in range(count)
        ]

    @property
    def prunable_weights(self) -> int:
        """The number of weights of all linears."""
        return sum(out * width for out, width in self.sizes.values())

    def first(self, blocks: int) -> Anatomy:
        """A copy of this anatomy that ends after `blocks` blocks."""
        part = copy(self)
        part.sizes = {linear: self.sizes[linear] for linears in self.blocks[:blocks] for linear in linears}
        return part

    def weight(self, linear: str) -> Tensor:
        """The unpruned weight [out, in], rounded to the dtype in which cells are stored."""
        return self._tensors[f"{linear}.weight"]

    @property
    def run(self) -> RunInputs:
        """The inputs of a run of the engine on the calibration tokens. Raises PluginMistake without `runs_model`."""
        if self._run is None:
            raise PluginMistake("the allocator runs the model without declaring `runs_model = True`")
        return self._run

    def squared_norm(self, linear: str) -> Tensor:
        """||x_j||^2 of the linear's inputs over all calibration tokens of the dense model, float64 [in].

        Raises CellFailure if one is not finite, PluginMistake if the allocator does not declare "calibration".
        """
        if self._profile is None:
            raise PluginMistake("the allocator looks at data without declaring the axis 'calibration' in `uses`")
        norms = self._profile[self._sites[linear]]
        if not norms.isfinite().all():
            raise CellFailure(
                f"the inputs of {linear} are NaN or infinite on the calibration tokens: use bfloat16 or float32"
            )
        return norms

    @cached_property
    def _sites(self) -> dict[str, str]:
        """The full name of each linear's site, as the profile names it."""
        return {
            self._family.full_name(block, linear): self._family.full_name(block, site.name)
            for block in range(len(self.blocks))
            for site in self._family.sites
            for linear in site.linears
        }


def linear_sizes(directory: Path, family: type[Family]) -> Sizes:
    """(out, in) of every prunable linear by full name, in the order of the model; reads file headers only.

    Raises PrunebenchError if a tensor is missing. Blocks beyond those of config.json are ignored, as by transformers.
    """
    tensors = parts(read_layout(directory))
    sizes: Sizes = {}
    for block in range(read_shape(directory / CONFIG).blocks):
        for linear in family.linears():
            name = family.full_name(block, linear)
            part = tensors.get(f"{name}.weight")
            if part is None:
                raise absent(directory, f"{name}.weight", tensors)
            out, width = part.shape
            sizes[name] = (out, width)
    return sizes
