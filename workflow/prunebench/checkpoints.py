"""Pruned weights on disk: one safetensors file per cell with the linears that the method changed.

A dense cell's file is empty, a failed cell's is too (its prune.json says why).
"""

import json
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunebench.files import atomic_path


def merge(parts: Sequence[Path], destination: Path) -> None:
    """Concatenate safetensors files into one, in constant memory: the library's writer would hold all of it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    size = 0
    sources = []
    for part in parts:
        entries, start = _read_header(part)
        end = 0
        for name, entry in entries.items():
            low, high = entry["data_offsets"]
            header[name] = {**entry, "data_offsets": [size + low, size + high]}
            end = max(end, high)
        sources.append((part, start))
        size += end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants tensor data aligned
    with atomic_path(destination) as temporary, temporary.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for part, start in sources:
            with part.open("rb") as file:
                file.seek(start)
                shutil.copyfileobj(file, out, 1 << 22)


def shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in the safetensors files of a model directory, from their headers alone."""
    return {
        name: tuple(entry["shape"])
        for path in sorted(directory.glob("*.safetensors"))
        for name, entry in _read_header(path)[0].items()
    }


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """(tensor entries, offset of the data) of a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return entries, 8 + length
