"""The finished blocks of a pruning job on disk, so that a killed job resumes at the next block."""

import itertools
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from prunebench.storage import checkpoints
from prunebench.storage.files import atomic_path
from prunebench.storage.packing import pack
from prunebench.storage.resume import claim
from prunebench.storage.tensors import PackedStore, TensorStore

log = logging.getLogger("prunebench")


Block = tuple[Mapping[str, Tensor], dict[str, Any]]
"""The result of pruning a block: the changed tensors by full name (contiguous, on the CPU), and the record."""


class Scratch:
    """One safetensors file per finished block, with its record in the file's metadata, so that both appear at once.

    The hidden states between blocks are not kept: a forward pass of the finished blocks gives the same bits in a
    fraction of the time that pruning took, and needs no gigabytes per block.
    """

    def __init__(self, directory: Path, base: TensorStore, identity: str = "") -> None:
        """`base` is the unpruned model, rounded to the dtype of the pruned weights.

        Blocks that another `identity` (spec, digests of inputs) has left in `directory` are deleted.
        """
        self.directory, self._base = directory, base
        claim(directory, identity)
        self.resumed_at = self.finished
        """The number of the first block that was not finished; 0 for a fresh start."""
        if self.resumed_at:
            log.info("resuming at block %d", self.resumed_at)

    @property
    def finished(self) -> int:
        """The number of blocks that are finished, counted from the first."""
        return next(block for block in itertools.count() if not self._is_whole(block))

    def get_or(self, block: int, compute: Callable[[], Block]) -> Block:
        """A block's changed tensors (by full name) and its record: from disk, or made by `compute` and kept.

        Tensors are always read from disk, also those that `compute` has made, so that a resumed run sees the same bits.
        """
        path = self._path(block)
        if not self._is_whole(block):
            self.save(block, *compute())
        return PackedStore(path, self._base), _record(path)

    def _is_whole(self, block: int) -> bool:
        """Whether the file of a block exists and can be read: a power cut or a full disk may leave half of it."""
        path = self._path(block)
        if not path.exists():
            return False
        try:
            _record(path)
        except (SafetensorError, ValueError, KeyError, TypeError, OSError):
            log.warning("%s is damaged: the block is pruned again", path)
            return False
        return True

    def save(self, block: int, weights: Mapping[str, Tensor], record: dict[str, Any]) -> None:
        """Write a finished block, packed."""
        parts = {part: data for name in weights for part, data in pack(name, weights[name], self._base).items()}
        with atomic_path(self._path(block)) as temporary:
            save_file(parts, temporary, metadata={"record": json.dumps(record, allow_nan=False)})

    def merge(self, blocks: int, destination: Path) -> None:
        """Write all blocks as one checkpoint to `destination`."""
        checkpoints.merge([self._path(block) for block in range(blocks)], destination)

    def remove(self) -> None:
        """Delete all finished blocks, once the result has been written."""
        shutil.rmtree(self.directory)

    def keep_after_failure(self) -> None:
        """Leave the finished blocks for the next run, and log it; delete the directory if there are none."""
        if self.finished:
            log.warning("blocks finished before the failure are kept: %d in %s", self.finished, self.directory)
        else:
            self.remove()

    def _path(self, block: int) -> Path:
        return self.directory / f"block_{block:03d}.safetensors"


def _record(path: Path) -> dict[str, Any]:
    """The record of a block, from the header of its file."""
    with safe_open(path, framework="pt") as file:
        record: dict[str, Any] = json.loads(file.metadata()["record"])
    return record
