"""The finished blocks of a pruning job on disk, so that a killed job resumes at the next block."""

import itertools
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from prunebench.storage import checkpoints
from prunebench.storage.files import remove
from prunebench.storage.packing import pack
from prunebench.storage.resume import claim, mark_of
from prunebench.storage.sealed import Damaged
from prunebench.storage.tensors import PackedStore, TensorStore

log = logging.getLogger("prunebench")
_PREFIX = "block_"

Block = tuple[Mapping[str, Tensor], dict[str, Any]]
"""The result of pruning a block: the changed tensors by full name (contiguous, on the CPU), and the record."""


class Scratch:
    """One sealed safetensors file per finished block, with its record in the header, so that both appear at once.

    The hidden states between blocks are not kept: a forward pass of the finished blocks gives the same bits in a
    fraction of the time that pruning took, and needs no gigabytes per block.
    """

    def __init__(self, directory: Path, base: TensorStore, identity: str = "") -> None:
        """`base` is the unpruned model, rounded to the dtype of the pruned weights.

        Blocks that another `identity` (spec, digests of inputs) has left in `directory` are deleted.
        """
        self.directory, self._base, self._mark = directory, base, mark_of(identity)
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
            remove(path)  # it may be a directory, in whose place no file can be moved
            self.save(block, *compute())
        return PackedStore(path, self._base), checkpoints.facts(path)["record"]

    def _is_whole(self, block: int) -> bool:
        """Whether the file of a block exists, undamaged and made by this work. A power cut may leave half of it."""
        try:
            checkpoints.verify(self._path(block), f"{self._mark} {block}")
        except FileNotFoundError:
            return False
        except Damaged as damage:
            log.warning("the block is pruned again: %s", damage)
            return False
        return True

    def save(self, block: int, weights: Mapping[str, Tensor], record: dict[str, Any]) -> None:
        """Write a finished block, packed."""
        parts = {part: data for name in weights for part, data in pack(name, weights[name], self._base).items()}
        checkpoints.save(self._path(block), parts, record=record, spec_hash=f"{self._mark} {block}")

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
        return _file(self.directory, block)


def whole_blocks(directory: Path) -> int:
    """Count the undamaged blocks in `directory` from the first on, whichever work has left them."""
    return next(block for block in itertools.count() if not _is_sealed(_file(directory, block)))


def is_block(path: Path) -> bool:
    """Whether `path` has the name of the file of a finished block."""
    return path.name.startswith(_PREFIX)


def _file(directory: Path, block: int) -> Path:
    return directory / f"{_PREFIX}{block:03d}.safetensors"


def _is_sealed(path: Path) -> bool:
    try:
        checkpoints.check_seal(path)
    except (FileNotFoundError, Damaged):
        return False
    return True
