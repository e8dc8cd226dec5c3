"""Fused matrices: several linears whose rows stand in one matrix. These functions split and join the rows."""

from __future__ import annotations

from collections.abc import Sequence

from prunebench.lazy import torch
from prunebench.models.configs import Rows


def rows_of(fused: torch.Tensor, rows: Rows) -> torch.Tensor:
    """One part [count, ...] of a stored tensor [total, ...]; a view if its rows are contiguous."""
    part: torch.Tensor = fused.unflatten(0, (rows.groups, rows.run))[:, rows.start : rows.stop].flatten(0, 1)
    return part


def join(parts: Sequence[torch.Tensor], groups: int, axis: int = 0) -> torch.Tensor:
    """Join the parts of a fused tensor, whose rows (or outputs) are along `axis`, an index from 0."""
    runs = [part.unflatten(axis, (groups, -1)) for part in parts]
    return torch.cat(runs, dim=axis + 1).flatten(axis, axis + 1)
