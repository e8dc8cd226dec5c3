"""Releases of transformers name the keys and values that a model keeps in two ways."""

from types import SimpleNamespace
from typing import Any

import pytest

from prunebench.engine.cached import cache_of, going_on
from prunebench.errors import PrunebenchError


def old(input_ids: Any, past_key_values: Any = None, use_cache: Any = None) -> None: ...


def new(input_ids: Any, cache: Any = None, use_cache: Any = None) -> None: ...


def other(input_ids: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(("forward", "name"), [(old, "past_key_values"), (new, "cache"), (other, "past_key_values")])
def test_a_model_gets_what_it_keeps_by_its_own_name(forward: Any, name: str) -> None:
    model: Any = SimpleNamespace(forward=forward)
    assert going_on(model, 5) == {name: 5, "use_cache": True}


def test_a_model_that_keeps_nothing_is_told() -> None:
    with pytest.raises(PrunebenchError, match="keeps no keys and values"):
        cache_of(SimpleNamespace(logits=1))


@pytest.mark.parametrize("output", [{"past_key_values": 3}, {"cache": 3}, {"cache": 3, "past_key_values": 4}])
def test_an_output_gives_it_by_either_name(output: dict[str, int]) -> None:
    assert cache_of(SimpleNamespace(**output)) == 3
