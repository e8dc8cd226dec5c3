"""The devices that compute and that hold tensors, and what they can do: nothing else asks for a kind of device."""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from prunebench.engine.placement.choice import AUTO, CHOICE, USABLE
from prunebench.errors import PrunebenchError, summary

GIB = 1 << 30


def best_device(choice: str | None = None) -> torch.device:
    """The device `choice`, by default the one that PRUNEBENCH_DEVICE names, or else the accelerator or the CPU.

    An accelerator without float64, in which sums are computed, is never chosen by itself. Raises PrunebenchError, of
    one line, if the named device is not here or cannot be used.
    """
    choice = choice or os.environ.get(CHOICE) or AUTO
    if choice == AUTO:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator if accelerator is not None and has_float64(accelerator) else torch.device("cpu")
    if choice == "cpu":
        return torch.device("cpu")
    kind, _, number = choice.partition(":")
    seen = _count(kind)
    if not seen or (number and (not number.isdecimal() or int(number) >= seen)):
        known = torch.accelerator.current_accelerator(check_available=True)
        names = ["cpu"] + ([f"{known.type}:{index}" for index in range(_count(known.type))] if known else [])
        raise PrunebenchError(
            f"device {choice!r} (--device, {CHOICE}): PyTorch {torch.__version__} sees none of this name here: name "
            f"{AUTO} or one of {', '.join(names)} (prunebench doctor says more)"
        )
    device = torch.device(choice)
    if not has_float64(device):
        raise PrunebenchError(
            f"device {choice!r} (--device, {CHOICE}): it has no float64, in which sums are computed: name cpu"
        )
    return device


def _count(kind: str) -> int:
    """The number of devices of a kind such as "cuda" that torch can use; 0 for a kind that it does not know."""
    try:
        module: Any = torch.get_device_module(kind)
        return int(module.device_count()) if kind != "cpu" and module.is_available() else 0
    except (RuntimeError, AttributeError):  # no kind of device, or one without devices, such as meta
        return 0


def has_float64(device: torch.device) -> bool:
    """Whether `device` has float64. Raises PrunebenchError if it can hold no tensor at all."""
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        raise PrunebenchError(
            f"device {str(device)!r} cannot be used ({summary(error)}): name another one (--device, {CHOICE})"
        ) from error
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return False
    return True


def own_memory(device: torch.device) -> bool:
    """Whether `device` has memory of its own, which may be full while the host has room."""
    return device.type != "cpu"


def page_locked(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor` of the host in memory that stays in its place, from which a CUDA `device` copies while the host goes on.

    It is `tensor` itself for other devices, and where the system locks no more memory.
    """
    if device.type != "cuda":
        return tensor
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor


def sums_in_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `device` has a product of 16-bit factors of `dtype` that is summed in float32 and returned in float32.

    The CPU computes with factors in float32 instead, which it can round to bfloat16 itself.
    """
    return own_memory(device) and dtype.itemsize == 2 and _sums_in_float32(device.type, dtype)


@cache
def _sums_in_float32(kind: str, dtype: torch.dtype) -> bool:
    # 2^12 + 1 has more digits than either 16-bit type.
    row = torch.tensor([[4096.0, 1.0]], dtype=dtype, device=kind)
    try:
        return torch.mm(row, torch.ones_like(row).T, out_dtype=torch.float32).item() == 4097
    except (RuntimeError, TypeError):  # the device has no such kernel
        return False


def free_memory(device: torch.device) -> int:
    """The number of free bytes of a device with memory of its own."""
    return int(_module(device).mem_get_info(device)[0])


def peak_memory(device: torch.device) -> int:
    """The largest number of bytes that tensors of this process have taken of a device with memory of its own."""
    return int(_module(device).max_memory_allocated(device))


def wait_for(device: torch.device) -> None:
    """Wait until `device` has finished what was asked of it. A CPU has always finished."""
    if own_memory(device):
        _module(device).synchronize(device)


def name_and_memory(device: torch.device) -> tuple[str, int]:
    """The name of a device with memory of its own, and the bytes of that memory."""
    module = _module(device)
    return str(module.get_device_name(device)), int(module.get_device_properties(device).total_memory)


def _module(device: torch.device) -> Any:
    """torch.cuda, torch.xpu, or the module of another accelerator, which all have the names used here."""
    return torch.get_device_module(device)


def roomy_device(device: torch.device, size: int) -> torch.device:
    """The device for `size` bytes of hidden states: the host if they take over a quarter of `device`'s free memory."""
    if own_memory(device) and size > free_memory(device) / 4:
        return torch.device("cpu")
    return device


def cards(device: torch.device) -> list[tuple[torch.device, float]]:
    """The devices for a whole model, `device` first, each with the number of bytes for weights; infinite for a CPU.

    They are all visible devices of its kind, or `device` alone if it has a number, which a user has named then.
    """
    if not own_memory(device):
        return [(device, float("inf"))]
    numbers = [device.index] if device.index is not None else range(_module(device).device_count())
    devices = [torch.device(device.type, number) for number in numbers]
    return [(card, USABLE * free_memory(card)) for card in devices]


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
