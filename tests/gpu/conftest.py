"""Everything below runs on a device that is not the CPU: on CUDA if there is one, else on the stand-in accelerator."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tiny

CUDA = torch.cuda.is_available()
if not CUDA:
    import standin


@pytest.fixture(autouse=True)
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models open on the device."""
    if CUDA:
        monkeypatch.setattr(tiny, "DEVICE", "cuda")
        yield
        return
    monkeypatch.setattr(tiny, "DEVICE", standin.NAME)
    with standin.present():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name == "test_large.py":
            item.add_marker(pytest.mark.gpu)
            item.add_marker(missing)
