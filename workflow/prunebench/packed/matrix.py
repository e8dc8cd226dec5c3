"""A packed matrix in memory: a bitmask in words of 32 columns, the kept values in order, and the places of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prunebench.storage import packing
from prunebench.storage.tensors import PackedParts

SPARE = 64
"""The number of bytes behind the values, which the kernels may read."""
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), axis=1)
"""Each byte with its bits in the other order: files have the first column in the highest bit, words in the lowest."""


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix [rows, columns] of which only what is not zero is kept."""

    columns: int
    dtype: torch.dtype
    """The dtype of the matrix when it is expanded."""
    mask: Tensor
    """int32 [rows, ceil(columns / 32)]: bit i of word w is set if the weight in column 32 w + i is kept."""
    values: Tensor
    """The kept values in order, of `dtype` or int8, with SPARE bytes behind them."""
    starts: Tensor
    """int64 [rows + 1]: the place in `values` of the first value of each row; the last entry is their number."""
    scales: Tensor | None = None
    """float32 [rows, ceil(columns / group)]: the factors of int8 values."""
    group: int = 0
    """The number of columns that share a scale, a multiple of 32."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.mask)

    @classmethod
    def of_parts(cls, parts: PackedParts) -> PackedMatrix:
        """The matrix from the `parts` of a file. Raises ValueError if their sizes do not fit together."""
        mask = _words(parts.mask)
        counts = np.bitwise_count(mask).sum(axis=1, dtype=np.int64)
        starts = torch.from_numpy(np.concatenate([np.zeros(1, np.int64), counts.cumsum()]))
        if len(parts.values) != starts[-1]:
            raise ValueError(f"{len(parts.values)} values for {starts[-1]} places")
        values = torch.empty(len(parts.values) + SPARE // parts.values.element_size(), dtype=parts.values.dtype)
        values[: len(parts.values)] = parts.values
        values[len(parts.values) :] = 0
        words = torch.from_numpy(mask.view(np.int32))
        group = parts.group or 32 * words.shape[1]
        return cls(parts.width, parts.dtype, words, values, starts, parts.scales, group)

    @classmethod
    def of_dense(cls, tensor: Tensor, group: int | None = None) -> PackedMatrix:
        """Pack a matrix [rows, columns] on the CPU; every bit comes back when it is expanded.

        With `group`, values have 8 bits, and `group` columns share a scale.
        """
        mask, values = packing.bits_and_values(tensor.contiguous())
        scales = None
        if group is not None:
            values, scales = packing.quantised(values, mask, tensor, group)
        return cls.of_parts(PackedParts(mask, values, scales, group, tensor.shape[1], tensor.dtype))

    def expanded(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last` as a dense matrix of `dtype`, by PyTorch alone: on any device, and slowly."""
        mask = self.mask[first:last]
        bits = torch.arange(32, dtype=torch.int32, device=mask.device)
        kept = ((mask[:, :, None] >> bits) & 1).view(len(mask), -1)[:, : self.columns].bool()
        tile = torch.zeros(kept.shape, dtype=self.values.dtype, device=mask.device)
        tile.masked_scatter_(kept, self.values[self.starts[first] : self.starts[first + len(mask)]])
        return self.scaled(tile, first)

    def scaled(self, tile: Tensor, first: int) -> Tensor:
        """Multiply the expanded values `tile` [n, columns] of the rows from `first` on by their scales, if any."""
        if self.scales is None:
            return tile
        factors = self.scales[first : first + len(tile)].repeat_interleave(self.group, dim=1)[:, : self.columns]
        return (tile.float() * factors).to(self.dtype)

    @property
    def nbytes(self) -> int:
        """The number of bytes in memory."""
        return sum(part.nbytes for part in (self.mask, self.values, self.starts, self.scales) if part is not None)


def _words(mask: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.uint32]]:
    """The bitmask of a file, uint8 [rows, ceil(columns / 8)], as words uint32 [rows, ceil(columns / 32)]."""
    source = _REVERSED[:, 0][mask.numpy()]
    padded = np.zeros((len(source), -(-source.shape[1] // 4) * 4), dtype=np.uint8)
    padded[:, : source.shape[1]] = source
    return padded.view("<u4")
