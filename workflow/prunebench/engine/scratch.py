"""Finished blocks of a running prune on disk, so that a killed job resumes at the next block."""

import itertools
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from prunebench import checkpoints
from prunebench.files import atomic_path
from prunebench.partial import claim

log = logging.getLogger("prunebench")


class Scratch:
    """One safetensors file per finished block, its record in the file's metadata, so that both appear at once.

    The hidden states between blocks are not kept: running the finished blocks forward again gives the same bits for
    a fraction of the time it took to prune them, and needs no gigabytes per block.
    """

    def __init__(self, directory: Path, identity: str = "") -> None:
        """Blocks that were left in `directory` under another `identity` (spec, digests of inputs) are thrown away."""
        self._directory = directory
        claim(directory, identity)
        self.resumed_at = next(block for block in itertools.count() if not self._path(block).exists())
        """The first block that is not there yet: 0 for a fresh start."""
        if self.resumed_at:
            log.info("resuming at block %d", self.resumed_at)

    def load(self, block: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The changed weights (full names, memory-mapped) and the record of a finished block, or None."""
        path = self._path(block)
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["record"])  # noqa: SIM118

    def save(self, block: int, weights: Mapping[str, Tensor], record: dict[str, Any]) -> None:
        """Keep a finished block. `weights` are contiguous CPU tensors."""
        with atomic_path(self._path(block)) as temporary:
            save_file(dict(weights), temporary, metadata={"record": json.dumps(record, allow_nan=False)})

    def merge(self, blocks: int, destination: Path) -> None:
        """All blocks as one checkpoint at `destination`."""
        checkpoints.merge([self._path(block) for block in range(blocks)], destination)

    def remove(self) -> None:
        """Forget everything: the result has been written."""
        shutil.rmtree(self._directory)

    def _path(self, block: int) -> Path:
        return self._directory / f"block_{block:03d}.safetensors"
