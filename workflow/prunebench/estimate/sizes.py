"""What follows from a model's sizes in the catalog: its matrices, and how many bytes they take."""

from dataclasses import dataclass

from prunebench import registry
from prunebench.config.entries import STORED, ModelEntry, Shape
from prunebench.estimate.operations import Sizes
from prunebench.models.base import Family
from prunebench.plan.grid import model_shape

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, STORED: 2}
"""Bytes of a number by dtype. Models whose dtype is that of their files are taken for 16-bit ones."""


@dataclass(frozen=True)
class Model:
    """A model before it is here."""

    sizes: Sizes
    ffn: int
    """Width of the FFN."""
    gated: bool
    item: int
    """Bytes of a weight as stored."""

    @classmethod
    def of(cls, entry: ModelEntry) -> "Model":
        """The model of a catalog entry, or for a local one of its config.json; PrunebenchError if that is missing."""
        shape, family = model_shape(entry), registry.load("models", entry.family)
        return cls(counted_sizes(shape, family), shape.ffn, family.ffn.gate is not None, BYTES[entry.dtype])

    @property
    def prunable(self) -> int:
        """Weights of all linears in the blocks."""
        return self.sizes.blocks * self.sizes.weights

    @property
    def outside(self) -> int:
        """Weights outside the blocks: embeddings and head, taken as two matrices (norms and positions are small)."""
        return 2 * self.sizes.vocabulary * self.sizes.hidden

    @property
    def parameters(self) -> int:
        """All weights. Too many where the head is the embedding (OPT): files hold it once then."""
        return self.prunable + self.outside


def counted_sizes(shape: Shape, family: type[Family]) -> Sizes:
    """The matrices of a block of `family` with these sizes: (out, in) of each linear, widths of sites."""
    key_value = shape.key_value or shape.attention
    of_site = {
        "attention_in": (shape.hidden, (shape.attention, key_value, key_value)),
        "attention_out": (shape.attention, (shape.hidden,)),
        "ffn_in": (shape.hidden, (shape.ffn, shape.ffn)),
        "ffn_mid": (shape.ffn, (shape.hidden,)),
    }
    return Sizes(
        blocks=shape.blocks,
        linears={
            linear: (out, of_site[site.name][0])
            for site in family.sites
            for linear, out in zip(site.linears, of_site[site.name][1], strict=False)
        },
        sites=tuple(of_site[site.name][0] for site in family.sites),
        attention=shape.attention,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
    )
