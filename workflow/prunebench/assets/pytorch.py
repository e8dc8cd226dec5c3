"""Conversion of pytorch_model*.bin, on arrival, into safetensors, so that no later step reads pickles."""

import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from prunebench.errors import PrunebenchError
from prunebench.storage.files import atomic_path, write_json


def convert_pytorch(files: Iterable[Path], dest: Path) -> None:
    """Write the tensors in `files` into `dest`, with the same bits and names: one safetensors file each, and an index.

    torch's unpickler of plain tensors (`weights_only`) reads the files and runs no code that they name.
    Raises PrunebenchError if a file holds anything else, or is damaged.
    """
    sources = sorted(files)
    names = [f"model-{number:05d}-of-{len(sources):05d}.safetensors" for number in range(1, len(sources) + 1)]
    names = ["model.safetensors"] if len(sources) == 1 else names
    where: dict[str, str] = {}
    size = 0
    for source, name in zip(sources, names, strict=True):
        tensors = _read(source)
        where |= dict.fromkeys(tensors, name)
        size += sum(tensor.nbytes for tensor in tensors.values())
        with atomic_path(dest / name) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
    if len(sources) > 1:
        write_json(dest / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": where})


def _read(file: Path) -> dict[str, Tensor]:
    try:
        # Only the newer of torch's two formats, a zip archive, can be memory-mapped.
        stored = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise PrunebenchError(f"{file.name} cannot be read as plain tensors: {error}") from error
    if not isinstance(stored, dict) or not all(isinstance(tensor, Tensor) for tensor in stored.values()):
        raise PrunebenchError(f"{file.name} holds more than tensors by name: name a revision with safetensors")
    # Tied tensors share memory, which safetensors refuses: each gets its own.
    return {name: tensor.contiguous().clone() for name, tensor in stored.items()}
