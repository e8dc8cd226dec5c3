"""Pruned weights on disk: one safetensors file per cell with the tensors that the method changed, packed.

The file of a dense or failed cell has no tensors.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from prunebench.storage.files import atomic_path

_CHUNK = 1 << 22


class _Entry(NamedTuple):
    """A tensor in a safetensors file: its dtype and shape, and the place of its bytes."""

    name: str
    dtype: str
    shape: list[int]
    file: Path
    start: int
    size: int


def merge(parts: Sequence[Path], destination: Path) -> None:
    """Concatenate safetensors files into one, in constant memory; the library's writer would hold all tensors."""
    entries = [entry for part in parts for entry in _entries(part)]
    # Bitmasks come last: an odd number of bytes would leave the tensors after them unaligned.
    entries.sort(key=lambda entry: entry.dtype == "U8")
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        start, end = end, end + entry.size
        header[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format requires that tensor data are aligned
    with atomic_path(destination) as temporary, temporary.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for entry in entries:
            _copy(entry, out)


def metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file."""
    entries: dict[str, str] = _header(path)[0].get("__metadata__", {})
    return entries


def _copy(entry: _Entry, out: BinaryIO) -> None:
    with entry.file.open("rb") as source:
        source.seek(entry.start)
        for done in range(0, entry.size, _CHUNK):
            out.write(source.read(min(_CHUNK, entry.size - done)))


def _entries(path: Path) -> list[_Entry]:
    """The tensors of a safetensors file, from its header."""
    header, data = _header(path)
    header.pop("__metadata__", None)
    entries = []
    for name, entry in header.items():
        low, high = entry["data_offsets"]
        entries.append(_Entry(name, entry["dtype"], entry["shape"], path, data + low, high - low))
    return entries


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and the offset of the data after it."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), 8 + length
