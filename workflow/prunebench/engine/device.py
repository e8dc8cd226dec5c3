"""Where things are computed and kept: CUDA when there is one."""

import torch


def best_device() -> torch.device:
    """The first visible GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def roomy_device(device: torch.device, size: int) -> torch.device:
    """Where to keep `size` bytes of hidden states: on the GPU while they take under a quarter of its free memory."""
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] / 4:
        return torch.device("cpu")
    return device
