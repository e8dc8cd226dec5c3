"""Sealed safetensors files: weights of cells, profiles, gradients and finished blocks.

The weights of a cell are one file with the tensors that the method changed, packed. The file of a dense or failed cell
has no tensors. Every file carries facts about its maker and a seal, which is the SHA-256 of the file with zeros in the
place of the seal. Both stand in one entry of the file's metadata, because the library writes several entries in random
order.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from prunebench.storage.files import atomic_path, check_finite
from prunebench.storage.sealed import Damaged, check_maker

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 1 << 22
_KEY = "prunebench"
_EARLIER = {"format", "spec_hash", "tokens", "digest", "record"}
"""The facts that earlier versions wrote, each as an entry of its own."""
_OPEN = "0" * 64
"""The seal before it is computed."""


class _Entry(NamedTuple):
    """A tensor in a safetensors file: its dtype and shape, and the place of its bytes."""

    name: str
    dtype: str
    shape: list[int]
    file: Path
    start: int
    size: int


def save(path: Path, tensors: Mapping[str, Tensor], **facts: Any) -> None:
    """Write `tensors` (contiguous, on the CPU) and JSON `facts` to `path` atomically, with a seal.

    Equal tensors and facts give equal bytes. Raises ValueError for NaN and infinity in `facts`.
    """
    from safetensors.torch import save_file  # Those who only read a header need no torch.

    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata=_metadata(facts))
        _seal(temporary)


def merge(parts: Sequence[Path], destination: Path, **facts: Any) -> None:
    """Concatenate safetensors files into one, in constant memory; the library's writer would hold all tensors."""
    entries = [entry for part in parts for entry in _entries(part)]
    # Wide numbers come first: an odd number of narrow ones would leave the tensors after them unaligned.
    entries.sort(key=lambda entry: entry.size / max(1, prod(entry.shape)), reverse=True)
    header: dict[str, Any] = {"__metadata__": _metadata(facts)}
    end = 0
    for entry in entries:
        start, end = end, end + entry.size
        header[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format requires that tensor data are aligned
    with atomic_path(destination) as temporary:
        with temporary.open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for entry in entries:
                _copy(entry, out)
        _seal(temporary)


def facts(path: Path) -> dict[str, Any]:
    """Read the facts in the header of a file, with its seal as `seal`. The content is not checked.

    A file of an earlier version gives the facts that it has, without a seal. Raises FileNotFoundError if there is no
    file, and Damaged if the header cannot be read.
    """
    metadata = _header(path)[0].get("__metadata__", {})
    try:
        entries: dict[str, Any] = json.loads(metadata[_KEY]) if _KEY in metadata else metadata
    except ValueError as error:
        raise Damaged(path, f"is damaged ({error})") from None
    if _KEY not in metadata and not entries.keys() <= _EARLIER:
        raise Damaged(path, f"is damaged (it has an unknown fact {next(iter(entries.keys() - _EARLIER))!r})")
    return entries


def digest(path: Path) -> str | None:
    """Read the seal of a file, which is the digest of its content; None for a file of an earlier version."""
    stated = facts(path)
    # Earlier versions kept a digest of gradients.
    return stated.get("seal", stated.get("digest"))


def verify(path: Path, spec_hash: str | None = None) -> dict[str, Any]:
    """Return the `facts` of a file after a check of all its bytes, in constant memory.

    The file of an earlier version, which has no seal, is not checked. Raises Damaged if the bytes do not fit the seal,
    or if the file was not made from the spec with the hash `spec_hash`.
    """
    stated = facts(path)
    if "seal" in stated:
        if _digest(path, stated["seal"]) != stated["seal"]:
            raise Damaged(path, "is damaged (its bytes do not fit its seal)")
        check_maker(path, stated.get("spec_hash"), spec_hash)
    return stated


def check_seal(path: Path) -> None:
    """Raise Damaged unless the bytes of a file fit its seal; they are read once for as long as the file is the same."""
    state = path.stat()
    _check_seal(path.resolve(), state.st_mtime_ns, state.st_size)


@cache
def _check_seal(path: Path, _time: int, _size: int) -> None:
    verify(path)


def verify_weights(path: Path, pruned: Mapping[str, Any]) -> None:
    """Raise Damaged unless the file of weights is whole and the one of the record `pruned` of its cell.

    The file names no spec, so that equal weights are equal files whatever they were made for.
    """
    seal = verify(path).get("seal")
    if pruned.get("weights", seal) != seal:
        raise Damaged(path, "is not the file that was written with the record of its cell")


def _metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    check_finite(facts)
    return {_KEY: json.dumps({**facts, "seal": _OPEN}, sort_keys=True, allow_nan=False)}


def _seal(path: Path) -> None:
    """Put the seal of the file into the place that `_metadata` has left for it."""
    seal = _digest(path, _OPEN)
    with path.open("r+b") as file:
        file.seek(_place(path, _OPEN))
        file.write(seal.encode())


def _place(path: Path, seal: str) -> int:
    """Find the offset of `seal` in the header of a file. Raises Damaged if it is not there."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        place = file.read(length).find(seal.encode())
    if place < 0:
        raise Damaged(path, "is damaged (its seal is no text)")
    return 8 + place


def _digest(path: Path, seal: str) -> str:
    """Compute the SHA-256 of a file as if its `seal` were not computed yet."""
    place = _place(path, seal)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(place) + _OPEN.encode())
        file.seek(place + len(_OPEN))
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


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
    """The header of a safetensors file, and the offset of the data after it. Raises Damaged if there is none."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, struct.error, RecursionError) as error:
        raise Damaged(path, f"is damaged ({error})") from None
    tensors = (
        [entry for name, entry in header.items() if name != "__metadata__"] if isinstance(header, dict) else [None]
    )
    described = all(isinstance(entry, dict) and "data_offsets" in entry for entry in tensors)
    if not described or not isinstance(header.get("__metadata__", {}), dict):
        raise Damaged(path, "is damaged (it has no header)")
    return header, 8 + length
