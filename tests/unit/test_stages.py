from pathlib import Path

import pytest

import tiny
from prunebench.engine.loss import window_losses
from prunebench.errors import CellFailure, PrunebenchError
from prunebench.stages.allocate import _ranked
from prunebench.stages.prune import summarise
from prunebench.suites.perplexity import score


def blocks(zeros: int, beyond: int) -> list[dict[str, object]]:
    counts = {"weights": 10_000, "inputs": 2000, "zeros": zeros, "already_zero": 3000, "zeros_beyond_target": beyond}
    return [{"linears": {"a": counts}}]


@pytest.mark.parametrize(
    ("zeros", "beyond", "target"),
    [(5000, 0, 0.5), (5010, 0, 0.5), (1000, 1000, 0.0), (3000, 1000, 0.2), (3010, 1000, 0.2), (2000, 1000, 0.2)],
)
def test_zeros_up_to_rounding_or_beyond_the_target_pass(zeros: int, beyond: int, target: float) -> None:
    summary = summarise(blocks(zeros, beyond), target)
    assert summary["achieved_sparsity"] == zeros / 10_000
    assert (summary["already_zero"], summary["zeros_beyond_target"]) == (3000, beyond)


@pytest.mark.parametrize(
    ("zeros", "beyond", "target"),
    [(4980, 0, 0.5), (5020, 0, 0.5), (1100, 1000, 0.0), (5000, 900, 0.4), (3000, 900, 0.2), (1900, 1000, 0.2)],
)
def test_a_missed_sparsity_fails_the_cell(zeros: int, beyond: int, target: float) -> None:
    with pytest.raises(CellFailure, match="misses the target"):
        summarise(blocks(zeros, beyond), target)


def test_a_destroyed_model_fails_the_cell() -> None:
    with pytest.raises(CellFailure, match="1000 nats per token"):
        score("web", [1000.0, 1000.0])


def test_windows_longer_than_the_context_are_refused(tmp_path: Path) -> None:
    model = tiny.open_model(tiny.make_model(tmp_path, "opt"), "opt")
    with pytest.raises(PrunebenchError, match="65 tokens are longer than the model's context of 64"):
        window_losses(model, tiny.tokens(1, 65), batch_size=1)


def test_only_what_has_a_value_has_a_place_in_a_search() -> None:
    values = {"a": 9.0, "b": None, "c": 3.0, "d": 4.0}
    history = [
        {"candidate": name, "status": "ok" if value else "invalid", "value": value, "evaluation": 1}
        for name, value in values.items()
    ]
    assert [_ranked(history, place)["candidate"] for place in (1, 2, 3)] == ["c", "d", "a"]
    with pytest.raises(CellFailure, match="3 candidates have a value, so none is in place 4"):
        _ranked(history, 4)
