"""The vocabulary for describing a decoder architecture. Light: names only, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar


@dataclass(frozen=True)
class Site:
    """One *input* inside a block, and the linears that read it. Activation statistics belong to sites."""

    name: str
    linears: tuple[str, ...]


@dataclass(frozen=True)
class FeedForward:
    """The roles of an FFN's linears: `down(act(up(x)))`, or `down(act(gate(x)) * up(x))` when gated."""

    up: str
    down: str
    gate: str | None = None


class Family:
    """One architecture family; subclasses are data. Linear names are relative to a block."""

    name: ClassVar[str]
    model_types: ClassVar[frozenset[str]]
    """`model_type` values of config.json that this family reads."""
    blocks: ClassVar[str]
    """Module path of the list of decoder blocks."""
    sites: ClassVar[tuple[Site, ...]]
    """All sites of a block, in the order of the forward pass."""
    ffn: ClassVar[FeedForward]
    head: ClassVar[str] = "lm_head"
    """First part of the names of the tensors that stand outside the decoder."""
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """First parts of names in files -> first parts of names in the model, where transformers renames while it loads."""

    @classmethod
    def linears(cls) -> tuple[str, ...]:
        """All prunable linears of a block, in the order of the forward pass."""
        return tuple(linear for site in cls.sites for linear in site.linears)

    @classmethod
    def full_name(cls, block: int, linear: str) -> str:
        """Module path of a linear in the whole model; allocations and checkpoints are keyed by it."""
        return f"{cls.blocks}.{block}.{linear}"
