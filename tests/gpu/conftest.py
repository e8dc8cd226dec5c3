"""Everything below runs on a device that is not the CPU: on CUDA if there is one, else on the stand-in accelerator."""

from pathlib import Path

import pytest
import torch

CUDA = torch.cuda.is_available()


@pytest.fixture
def device_name(request: pytest.FixtureRequest, device_name: str) -> str:
    """The device of the option `--device`, or the one that is here."""
    return device_name if device_name != "cpu" else "cuda" if CUDA else "standin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if item.path.name == "test_large.py":
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.skipif(not CUDA, reason="needs a CUDA device"))
        elif item.path.name == "test_standin.py":
            item.add_marker(pytest.mark.skipif(CUDA, reason="torch has one kind of accelerator at a time, here CUDA"))
