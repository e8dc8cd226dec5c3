import json

import pytest

from golden import values

RECORDED = json.loads(values.FILE.read_text())


def test_methods_give_the_numbers_on_record() -> None:
    # What is not on record (a new method, or one whose masks depend on the CPU) has no numbers to keep.
    now = values.methods(RECORDED["methods"])
    for architecture, entries in RECORDED["methods"].items():
        for name, expected in entries.items():
            entry = now[architecture][name]
            assert entry["masks"] == expected["masks"], (architecture, name)
            # Losses in float32: another CPU may sum in another order.
            assert entry["losses"] == pytest.approx(expected["losses"], rel=1e-5), (architecture, name)


def test_the_other_stages_give_the_numbers_on_record() -> None:
    now = values.pipeline()
    expected = RECORDED["pipeline"]
    # bf16: another CPU may round differently, a changed protocol moves far more.
    assert now.pop("perplexity") == pytest.approx(expected["perplexity"], rel=1e-2)
    assert now == {name: value for name, value in expected.items() if name != "perplexity"}
