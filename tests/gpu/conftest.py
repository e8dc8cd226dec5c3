"""Everything below runs on the device that the option --device names, and is skipped without one: cuda, or standin."""

from pathlib import Path

import pytest

from conftest import CPU


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    device = config.getoption("--device")
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if device == CPU:
            item.add_marker(pytest.mark.skip(reason="runs on another device: pytest --device cuda, or standin"))
        elif device == "standin" and item.path.name == "test_large.py":
            item.add_marker(pytest.mark.skip(reason="needs the time and the memory of a real GPU"))
