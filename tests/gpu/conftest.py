"""Everything below runs on a device that is not the CPU: on CUDA if there is one, else on the stand-in accelerator."""

from pathlib import Path

import pytest
import torch

CUDA = torch.cuda.is_available()
if not CUDA:
    pass


def pytest_configure(config: pytest.Config) -> None:
    pass


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name == "test_large.py":
            item.add_marker(pytest.mark.gpu)
            item.add_marker(missing)
