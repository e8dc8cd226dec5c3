"""The classes that describe a decoder architecture. They hold names only and import no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

Size = Literal["attention", "key_value", "ffn"]
"""A width in `models.configs.Dimensions`."""
QUERY_KEY_VALUE: Mapping[str, Size] = MappingProxyType({"query": "attention", "key": "key_value", "value": "key_value"})
"""The parts of a matrix that holds query, key and value."""


@dataclass(frozen=True)
class Site:
    """One *input* inside a block, and the linears that read it. Statistics of activations belong to sites."""

    name: str
    linears: tuple[str, ...]


@dataclass(frozen=True)
class Fused:
    """One matrix of the files that holds several linears with one input: each linear has some of its rows.

    Blocks are opened with the parts as linears of their own, named after the matrix: "mlp.gate_up_proj.up_proj".
    """

    matrix: str
    """The module path of the matrix within a block."""
    parts: Mapping[str, Size]
    """The parts in the order of their rows, each with the size of the model that is its number of rows."""
    by_head: bool = False
    """Whether rows are ordered by key-value head: all parts of one head, then all parts of the next head."""

    @property
    def linears(self) -> tuple[str, ...]:
        """The names of the parts within a block."""
        return tuple(f"{self.matrix}.{part}" for part in self.parts)


@dataclass(frozen=True)
class FeedForward:
    """The roles of an FFN's linears: `down(act(up(x)))`, or with a gate `down(act(gate(x)) * up(x))`."""

    up: str
    down: str
    activation: str
    """The module path of the elementwise non-linearity `act` within a block."""
    gate: str | None = None
    relu: bool = False
    """Whether `act` is ReLU in the published models of the family."""


class Family:
    """One architecture family. Subclasses hold data only; names of linears are relative to a block."""

    name: ClassVar[str]
    model_types: ClassVar[frozenset[str]]
    """The values of `model_type` in config.json that this family reads."""
    blocks: ClassVar[str]
    """The module path of the list of decoder blocks."""
    sites: ClassVar[tuple[Site, ...]]
    """All sites of a block, in the order of the forward pass: attention_in (read by query, key and value, in this
    order), attention_out, ffn_in and ffn_mid. If attention and FFN are parallel, two sites may see the same tensor.
    """
    ffn: ClassVar[FeedForward]
    fused: ClassVar[tuple[Fused, ...]] = ()
    """The matrices of the files that hold several linears."""
    ffn_factor: ClassVar[int | None] = None
    """The width of the FFN, as a multiple of the hidden size, if config.json does not give it."""
    head: ClassVar[str] = "lm_head"
    """The first part of the names of tensors outside the decoder."""
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The first parts of names that transformers changes as it loads a model: in files -> in the model. The first
    entry that fits a name counts.
    """
    text_types: ClassVar[frozenset[str]] = frozenset()
    """If the model is a language model beside a vision tower: the values of `model_type` that its `text_config` may
    have. Only the language model is pruned, and all other tensors stay as the files have them.
    """
    paired: ClassVar[frozenset[str]] = frozenset()
    """The values of `model_type` of models in which a token of an image is like one of text: masks and positions do not
    tell them apart. Calibration with images is for these.
    """
    text_type: ClassVar[str] = "{}_text"
    """The `model_type` of a `text_config` that does not say it; `{}` stands for that of the whole model."""
    auto: ClassVar[str] = "AutoModelForCausalLM"
    """The class of transformers that makes the model."""

    @classmethod
    def linears(cls) -> tuple[str, ...]:
        """All prunable linears of a block, in the order of the forward pass."""
        return tuple(linear for site in cls.sites for linear in site.linears)

    @classmethod
    def matrices(cls) -> tuple[str, ...]:
        """The matrices of a block as files hold them: a fused matrix in place of its parts."""
        parts = {linear: fused.matrix for fused in cls.fused for linear in fused.linears}
        return tuple(dict.fromkeys(parts.get(linear, linear) for linear in cls.linears()))

    @classmethod
    def is_language(cls, name: str) -> bool:
        """Whether the tensor with the full name `name` belongs to the language model, which may be the whole model."""
        language = cls.blocks.rpartition(".")[0]
        return not cls.text_types or name.startswith((f"{language}.", f"{cls.head}."))

    @classmethod
    def full_name(cls, block: int, linear: str) -> str:
        """The module path of a linear in the whole model, which is the key in allocations and checkpoints."""
        return f"{cls.blocks}.{block}.{linear}"
