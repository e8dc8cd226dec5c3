"""Everything below runs on CUDA, and is skipped where there is none."""

from pathlib import Path

import pytest
import torch

import tiny


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(missing)


@pytest.fixture(autouse=True)
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models open on the GPU."""
    monkeypatch.setattr(tiny, "DEVICE", "cuda")
