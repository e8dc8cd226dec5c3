"""Points of a block whose values are wanted: hooks that note them in forward passes, and end a pass early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from prunebench.errors import PluginMistake


@contextmanager
def watching(block: nn.Module, points: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Let forward passes of `block` write the values at `points` into the dictionary, as long as the context lasts.

    Points are those of `BlockView.stream`. Raises PluginMistake for another one.
    """
    values: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for point in points:
            hooks.callback(_watch(block, point, values).remove)
        yield values


def _watch(block: nn.Module, point: str, values: dict[str, Tensor]) -> RemovableHandle:
    """Let every forward pass write the values at `point` into `values`, until the handle is removed."""
    linear, _, side = point.rpartition(".")
    module = block.get_submodule(linear)
    if side == "in":
        return module.register_forward_pre_hook(lambda _, inputs: values.__setitem__(point, inputs[0].flatten(0, -2)))
    if side == "out":
        # The output is copied: some blocks add to the tensor itself or clamp it in place.
        return module.register_forward_hook(
            lambda _, __, output: values.__setitem__(point, output.flatten(0, -2).clone())
        )
    raise PluginMistake(f"point {point!r} must end in '.in' or '.out'")


@contextmanager
def probing(block: nn.Module, linears: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Let a forward pass of `block` add zeros to the output of each linear, and write them into the dictionary.

    Gradients by these zeros are the gradients by the outputs.
    """
    probes: dict[str, Tensor] = {}

    def add(linear: str) -> RemovableHandle:
        def added(_: nn.Module, __: object, output: Tensor) -> Tensor:
            probes[linear] = torch.zeros_like(output, requires_grad=True)
            return output + probes[linear]

        return block.get_submodule(linear).register_forward_hook(added)

    with ExitStack() as hooks:
        for linear in linears:
            hooks.callback(add(linear).remove)
        yield probes


class End(Exception):
    """The rest of a forward pass is not needed."""


@contextmanager
def ending_at(linear: nn.Module) -> Iterator[None]:
    """Let forward passes raise End at the input of `linear`, because nothing after it is needed."""

    def end(*_: object) -> None:
        raise End

    handle = linear.register_forward_pre_hook(end)
    try:
        yield
    finally:
        handle.remove()
