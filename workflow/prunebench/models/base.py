"""The vocabulary for describing a decoder architecture. Light: names only, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Site:
    """One *input* inside a block, and the linears that read it. Activation statistics belong to sites."""

    name: str
    linears: tuple[str, ...]


@dataclass(frozen=True)
class Fused:
    """One matrix of the files that is several linears with one input: each linear has some of its rows.

    Blocks are opened with the parts as linears of their own, named after the matrix: "mlp.gate_up_proj.up_proj".
    """

    matrix: str
    """Module path of the matrix within a block."""
    parts: Mapping[str, Literal["attention", "key_value", "ffn"]]
    """The parts in the order of their rows, each with the size of the model that says how many rows it has."""
    by_head: bool = False
    """Whether all parts of one key-value head stand together, followed by those of the next head."""

    @property
    def linears(self) -> tuple[str, ...]:
        """The parts' names within a block."""
        return tuple(f"{self.matrix}.{part}" for part in self.parts)


@dataclass(frozen=True)
class FeedForward:
    """The roles of an FFN's linears: `down(act(up(x)))`, or `down(act(gate(x)) * up(x))` when gated."""

    up: str
    down: str
    activation: str
    """Module path of the elementwise non-linearity `act` within a block."""
    gate: str | None = None
    relu: bool = False
    """Whether `act` is ReLU, as published models of the family have it."""


class Family:
    """One architecture family; subclasses are data. Linear names are relative to a block."""

    name: ClassVar[str]
    model_types: ClassVar[frozenset[str]]
    """`model_type` values of config.json that this family reads."""
    blocks: ClassVar[str]
    """Module path of the list of decoder blocks."""
    sites: ClassVar[tuple[Site, ...]]
    """All sites of a block, in the order of the forward pass: attention_in (which query, key and value read, in this
    order), attention_out, ffn_in and ffn_mid. Where attention and FFN stand side by side, two sites may see one tensor.
    """
    ffn: ClassVar[FeedForward]
    fused: ClassVar[tuple[Fused, ...]] = ()
    """The matrices of the files that are several linears."""
    ffn_factor: ClassVar[int | None] = None
    """How many times wider than the hidden state the FFN is where config.json does not give its width."""
    head: ClassVar[str] = "lm_head"
    """First part of the names of the tensors that stand outside the decoder."""
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """First parts of names in files -> first parts of names in the model, where transformers renames while it loads."""

    @classmethod
    def linears(cls) -> tuple[str, ...]:
        """All prunable linears of a block, in the order of the forward pass."""
        return tuple(linear for site in cls.sites for linear in site.linears)

    @classmethod
    def matrices(cls) -> tuple[str, ...]:
        """The matrices of a block as files hold them: a fused one in place of its parts."""
        parts = {linear: fused.matrix for fused in cls.fused for linear in fused.linears}
        return tuple(dict.fromkeys(parts.get(linear, linear) for linear in cls.linears()))

    @classmethod
    def full_name(cls, block: int, linear: str) -> str:
        """Module path of a linear in the whole model; allocations and checkpoints are keyed by it."""
        return f"{cls.blocks}.{block}.{linear}"
