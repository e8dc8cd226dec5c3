"""Writing the weights of a model directory: densely, in the shards of another directory, or packed in one file."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from prunebench.storage import checkpoints
from prunebench.storage.files import write_json
from prunebench.storage.layout import CONFIG, FLOATS, INDEX, PACKED_FORMAT, Layout, saved_name
from prunebench.storage.packed import PACKED, Packing
from prunebench.storage.packing import pack_alone
from prunebench.storage.parts import fused_parts, whole_tensor


def write_weights(
    layout: Layout, read: Callable[[str], torch.Tensor], destination: Path, packing: Packing | None
) -> None:
    """Write all tensors, which `read` gives by full name, shard by shard as in the model directory of `layout`.

    One shard is in memory at a time. With `packing` all shards are one packed file, which tells what they were.
    `destination` has its config.json already.
    """
    fused = fused_parts(layout)
    entries: dict[str, dict[str, Any]] = {}
    written: dict[str, str] = {}
    size = 0
    shards = layout.shards
    parts = []
    for shard, names in shards.items():
        tensors = {saved_name(name, layout): whole_tensor(name, fused, read) for name in names}
        written |= dict.fromkeys(tensors, shard)
        size += sum(tensor.nbytes for tensor in tensors.values())
        file = destination / shard
        if packing is None:
            save_file(tensors, file, metadata={"format": "pt"})
            shutil.copymode(destination / CONFIG, file)  # safetensors makes its files private
        else:
            parts.append(file.with_suffix(".part"))
            matrices = {saved_name(name, layout) for name in names if layout.is_matrix(name)}
            checkpoints.save(parts[-1], _packed(tensors, matrices, packing, entries))
    if packing is not None:
        facts = {"format": PACKED_FORMAT, "tensors": entries, "shards": written}
        checkpoints.merge(parts, destination / PACKED, **facts)
        for part in parts:
            part.unlink()
    elif len(shards) > 1:
        write_json(destination / INDEX, {"metadata": {"total_size": size}, "weight_map": written})


def _packed(
    tensors: dict[str, torch.Tensor], matrices: Collection[str], packing: Packing, entries: dict[str, dict[str, Any]]
) -> dict[str, torch.Tensor]:
    """The parts of `tensors`, of which `matrices` are packed; `entries` gets what the header says of these."""
    parts: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        group = packing.columns(tensor.shape[-1]) if name in matrices else None
        made = pack_alone(name, tensor, group) if name in matrices else {name: tensor}
        if name not in made:
            dtype = next(short for short, long in FLOATS.items() if getattr(torch, long) == tensor.dtype)
            entries[name] = {"shape": list(tensor.shape), "dtype": dtype, "group": group}
        parts |= made
    return parts
