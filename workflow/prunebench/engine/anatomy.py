"""What allocators see of the unpruned model: its matrices, one at a time, and its profile."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from prunebench.assets.manifest import read_shape
from prunebench.errors import CellFailure
from prunebench.models.base import Family
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.layout import CONFIG, absent, read_layout
from prunebench.storage.parts import parts
from prunebench.storage.tensors import TensorStore

Sizes = dict[str, tuple[int, int]]
"""(out, in) by full linear name, in the order of the model."""


@dataclass(frozen=True)
class Run:
    """What it takes to run the engine on a model."""

    directory: Path
    family: type[Family]
    storage: torch.dtype | None
    """The dtype in which cells are stored; None if each weight keeps its own."""
    tokens: Tensor
    """int64 [samples, seqlen]."""
    dtype: torch.dtype
    """Of the forward passes."""
    batch_size: int
    seed: int
    scratch: Scratch
    """Keeps finished blocks, so that a killed job goes on with the next one."""


class Anatomy:
    """Linears go by their full names."""

    def __init__(
        self,
        directory: Path,
        family: type[Family],
        storage: torch.dtype | None,
        profile: Path | None = None,
        run: Run | None = None,
    ) -> None:
        """`profile`: the file of rule profile, for allocators that look at data; `run`: for those that run it."""
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
        """How many weights its linears have."""
        return sum(out * width for out, width in self.sizes.values())

    def first(self, blocks: int) -> Anatomy:
        """The same model as if it ended after `blocks` blocks."""
        part = copy(self)
        part.sizes = {linear: self.sizes[linear] for linears in self.blocks[:blocks] for linear in linears}
        return part

    def weight(self, linear: str) -> Tensor:
        """The unpruned weight [out, in], rounded to the dtype in which cells are stored."""
        return self._tensors[f"{linear}.weight"]

    @property
    def run(self) -> Run:
        """What it takes to run the model on the calibration tokens."""
        if self._run is None:
            raise TypeError("the allocator runs the model without declaring `runs_model = True`")
        return self._run

    def squared_norm(self, linear: str) -> Tensor:
        """||x_j||^2 of the linear's inputs over all calibration tokens of the dense model, float64 [in].

        Raises CellFailure if one is not finite.
        """
        if self._profile is None:
            raise TypeError("the allocator looks at data without declaring the axis 'calibration' in `uses`")
        norms = self._profile[self._sites[linear]]
        if not norms.isfinite().all():
            raise CellFailure(
                f"the inputs of {linear} are NaN or infinite on the calibration tokens: use bfloat16 or float32"
            )
        return norms

    @cached_property
    def _sites(self) -> dict[str, str]:
        """The site, as the profile names it, of every linear."""
        return {
            self._family.full_name(block, linear): self._family.full_name(block, site.name)
            for block in range(len(self.blocks))
            for site in self._family.sites
            for linear in site.linears
        }


def linear_sizes(directory: Path, family: type[Family]) -> Sizes:
    """(out, in) of every prunable linear by full name, in the order of the model; reads file headers only.

    Raises PrunebenchError if a tensor is missing. Blocks beyond those of config.json are passed over, as transformers
    passes over them.
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
