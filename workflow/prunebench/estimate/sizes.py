"""The matrices of a model and their bytes, which follow from the model's sizes in the catalog."""

from dataclasses import dataclass

from prunebench import registry
from prunebench.config.entries import ModelEntry, Shape
from prunebench.config.values import STORED
from prunebench.estimate.operations import Sizes
from prunebench.models.base import Family
from prunebench.plan.grid import model_shape

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, STORED: 2}
"""Bytes of a number by dtype. A model whose files decide the dtype is assumed to have 16-bit weights."""


@dataclass(frozen=True)
class Model:
    """The sizes of a model that need not have been fetched yet."""

    sizes: Sizes
    ffn: int
    """The width of the FFN."""
    gated: bool
    item: int
    """Bytes of a weight as stored."""

    @classmethod
    def of(cls, entry: ModelEntry) -> "Model":
        """Read the sizes of a catalog entry, or of the config.json of a local model.

        Raises PrunebenchError if that file is missing.
        """
        shape, family = model_shape(entry), registry.load("models", entry.family)
        return cls(counted_sizes(shape, family), shape.ffn, family.ffn.gate is not None, BYTES[entry.dtype])

    @property
    def prunable(self) -> int:
        """The number of weights of all linears in the blocks."""
        return self.sizes.blocks * self.sizes.weights

    @property
    def outside(self) -> int:
        """The number of weights of embeddings and head, counted as two matrices (norms and positions are small)."""
        return 2 * self.sizes.vocabulary * self.sizes.hidden

    @property
    def parameters(self) -> int:
        """The number of all weights. It is too large where the head is the embedding (OPT), which files hold once."""
        return self.prunable + self.outside


def counted_sizes(shape: Shape, family: type[Family]) -> Sizes:
    """Find the matrices of a block of `family` with this `shape`: (out, in) of each linear, and the widths of sites."""
    key_value = shape.key_value or shape.attention
    products = {
        "attention_in": (shape.hidden, (shape.attention, key_value, key_value)),
        "attention_out": (shape.attention, (shape.hidden,)),
        "ffn_in": (shape.hidden, (shape.ffn, shape.ffn)),
        "ffn_mid": (shape.ffn, (shape.hidden,)),
    }
    return Sizes(
        blocks=shape.blocks,
        linears={
            linear: (out, products[site.name][0])
            for site in family.sites
            for linear, out in zip(site.linears, products[site.name][1], strict=False)
        },
        sites=tuple(products[site.name][0] for site in family.sites),
        attention=shape.attention,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
    )
