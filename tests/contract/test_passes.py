"""Forward passes that wait at sites give the values of passes that run anew with the weights of that moment."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from prunebench.engine import block as block_module
from prunebench.engine.activations import embed
from prunebench.engine.block import BlockView
from prunebench.engine.passes import Passes
from prunebench.errors import PrunebenchError


def visit(directory: Path, name: str, *, change_earlier: bool = False) -> list[dict[str, torch.Tensor]]:
    """Halve the weights of a block site by site. Returns the values at each site and the outputs of two batches."""
    model, values = tiny.open_model(directory, name), []
    stream = embed(model, tiny.tokens(6, 16), 4)
    with model.block(0) as module, torch.enable_grad():
        view = BlockView(module, 0, stream, model=model)
        for site in view.sites:
            for batch in view.batches:
                values.append(
                    {point: value.clone() for point, value in view.values_until(batch, site.linears[0]).items()}
                )
            view.install({linear: view.weight(linear) / 2 for linear in site.linears})
        if change_earlier:
            first = view.sites[0].linears[0]
            view.install({first: view.weight(first) * 3})
        view.advance()
        assert torch.is_grad_enabled()
    return [*values, dict(enumerate(stream.hidden))]  # type: ignore[arg-type]


@pytest.mark.parametrize("change_earlier", [False, True])
@pytest.mark.parametrize("name", tiny.EVERY_ARCHITECTURE)
def test_waiting_changes_no_value(
    name: str, change_earlier: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny.make_model(tmp_path, name)
    waiting = visit(directory, name, change_earlier=change_earlier)
    monkeypatch.setattr(block_module, "WAITING", 0)
    anew = visit(directory, name, change_earlier=change_earlier)
    for first, second in zip(waiting, anew, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[point], second[point]) for point in first)


def test_a_linear_that_is_never_called_is_named() -> None:
    class Lazy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    module = Lazy()
    passes = Passes(module, lambda _: module(torch.ones(1, 2)), 1, partial(nullcontext, {}))
    with pytest.raises(PrunebenchError, match="do not call unused"):
        passes.until(0, "unused")
