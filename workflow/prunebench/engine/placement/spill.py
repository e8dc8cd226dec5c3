"""Tensors of one block that may be larger than memory; the rest is in files that the system pages in and out."""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from prunebench.engine.placement.device import GIB, own_memory, roomy_device
from prunebench.errors import PrunebenchError


class Spill:
    """Makes uninitialised tensors: on the device if they take little of it, else in memory, else in files.

    The place of a tensor changes no result.
    """

    def __init__(self, directory: Path, device: torch.device, resident: float) -> None:
        """At most `resident` GiB are in memory; `directory` holds the files."""
        self._directory, self._device, self._left = directory, device, int(resident * GIB)

    def empty(self, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        """A new tensor [rows, width]. Raises PrunebenchError if there is no disk space for it."""
        size = rows * width * dtype.itemsize
        device = roomy_device(self._device, size)
        if own_memory(device):
            return torch.empty(rows, width, dtype=dtype, device=device)
        self._left -= size
        if self._left >= 0:
            return torch.empty(rows, width, dtype=dtype)
        return self._in_file(rows * width, dtype).view(rows, width)

    def _in_file(self, count: int, dtype: torch.dtype) -> Tensor:
        self._directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="spill-", dir=self._directory) as file:
            try:
                # Space is allocated now: a disk that is full when a page is written kills the process silently.
                os.posix_fallocate(file.fileno(), 0, count * dtype.itemsize)
            except OSError as error:
                raise PrunebenchError(
                    f"{self._directory}: no room for {count * dtype.itemsize / GIB:.1f} GiB of a block's variables "
                    f"({error.strerror}): free disk space, or raise the method's 'memory'"
                ) from error
            # The mapping keeps the file's content after its name is deleted, for as long as the tensor lives.
            return torch.from_file(file.name, shared=True, size=count, dtype=dtype)
