"""The devices that compute and that hold tensors: CUDA if there is one."""

from collections.abc import Sequence

import torch

from prunebench.errors import PrunebenchError
from prunebench.runtime.gpus import USABLE

GIB = 1 << 30


def best_device() -> torch.device:
    """The first visible GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def roomy_device(device: torch.device, size: int) -> torch.device:
    """The device for `size` bytes of hidden states: the GPU if they take under a quarter of its free memory."""
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] / 4:
        return torch.device("cpu")
    return device


def cards(device: torch.device) -> list[tuple[torch.device, float]]:
    """`device` and all other visible GPUs, each with the number of bytes for weights; infinite for a CPU."""
    if device.type != "cuda":
        return [(device, float("inf"))]
    first = device.index or 0
    others = [index for index in range(torch.cuda.device_count()) if index != first]
    return [(torch.device("cuda", i), USABLE * torch.cuda.mem_get_info(i)[0]) for i in (first, *others)]


def distribute(sizes: Sequence[int], rooms: Sequence[float]) -> list[int]:
    """The index of the room (bytes) for each of `sizes` (bytes); the indices never decrease.

    Raises PrunebenchError if the rooms are too small.
    """
    placed: list[int] = []
    room, left = 0, rooms[0]
    for size in sizes:
        while size > left:
            room += 1
            if room == len(rooms):
                raise PrunebenchError(
                    f"the whole model has to be in memory, {sum(sizes) / GIB:.0f} GiB of blocks; visible GPUs have "
                    f"room for {sum(rooms) / GIB:.0f}: show more of them (CUDA_VISIBLE_DEVICES), or take larger ones"
                )
            left = rooms[room]
        left -= size
        placed.append(room)
    return placed
