"""The tensors of a model directory as the engine names them: the parts of a fused matrix are tensors of their own.

Only file headers are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prunebench.errors import PrunebenchError
from prunebench.formulas.rows import join
from prunebench.models.configs import Rows, dimensions, part_rows
from prunebench.storage.layout import CONFIG, Layout, Place

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Part:
    """A tensor of a file, or the rows of it that are one part of a fused matrix."""

    place: Place
    rows: Rows | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the part."""
        return self.place.shape if self.rows is None else (self.rows.count, *self.place.shape[1:])


def fused_parts(layout: Layout) -> dict[str, dict[str, Part]]:
    """The parts of every fused tensor (weight or bias) of the blocks: name of the tensor -> name of the part -> part.

    Raises PrunebenchError if the number of rows of a tensor differs from config.json.
    """
    if not layout.family.fused:
        return {}
    sizes = dimensions(layout.config, layout.directory / CONFIG)
    tensors = {}
    for fused in layout.family.fused:
        rows = part_rows(fused, sizes)
        total = next(iter(rows.values())).total
        for block in range(sizes.blocks):
            for kind in ("weight", "bias"):
                name = layout.family.full_name(block, f"{fused.matrix}.{kind}")
                if (place := layout.places.get(name)) is None:
                    continue
                if place.shape[:1] != (total,):
                    raise PrunebenchError(
                        f"{place.file}: {place.stored} has the shape {list(place.shape)}, but {CONFIG} asks for "
                        f"{total} rows: one of them belongs to another model"
                    )
                tensors[name] = {
                    layout.family.full_name(block, f"{linear}.{kind}"): Part(place, run) for linear, run in rows.items()
                }
    return tensors


def parts(layout: Layout) -> dict[str, Part]:
    """Every tensor of the model by full name, with the parts of a fused tensor in its place."""
    fused = fused_parts(layout)
    return {
        name: part
        for stored, place in layout.places.items()
        for name, part in fused.get(stored, {stored: Part(place)}).items()
    }


def whole_tensor(
    name: str, fused: Mapping[str, Mapping[str, Part]], read: Callable[[str], torch.Tensor]
) -> torch.Tensor:
    """The tensor that files call `name`; if it is one of `fused`, its parts are read and joined."""
    parts = fused.get(name)
    if parts is None:
        return read(name)
    rows = next(iter(parts.values())).rows
    assert rows is not None
    return join([read(part) for part in parts], rows.groups)
