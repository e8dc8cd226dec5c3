import json

import pytest

from golden.values import FILE, compute


def test_the_numbers_are_those_on_record() -> None:
    recorded, now = json.loads(FILE.read_text()), compute()
    assert {name: set(entries) for name, entries in now.items()} == {name: set(e) for name, e in recorded.items()}
    for architecture, entries in now.items():
        for name, entry in entries.items():
            expected = recorded[architecture][name]
            assert entry["masks"] == expected["masks"], (architecture, name)
            # Losses in float32: another CPU may sum in another order.
            assert entry["losses"] == pytest.approx(expected["losses"], rel=1e-5), (architecture, name)
