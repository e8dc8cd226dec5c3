"""The rows of a fused matrix: taking its parts out of it, and putting them together again."""

from __future__ import annotations

from collections.abc import Sequence

from prunebench.lazy import torch
from prunebench.models.configs import Rows


def rows_of(fused: torch.Tensor, rows: Rows) -> torch.Tensor:
    """The rows of a stored tensor [total, ...] that are one part, [count, ...]; a view where they stand together."""
    part: torch.Tensor = fused.unflatten(0, (rows.groups, rows.run))[:, rows.start : rows.stop].flatten(0, 1)
    return part


def join(parts: Sequence[torch.Tensor], groups: int, axis: int = 0) -> torch.Tensor:
    """The parts of a fused tensor as one, where their rows (or outputs) stand along `axis`, which counts from 0."""
    runs = [part.unflatten(axis, (groups, -1)) for part in parts]
    return torch.cat(runs, dim=axis + 1).flatten(axis, axis + 1)
