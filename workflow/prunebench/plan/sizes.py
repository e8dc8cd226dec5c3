"""Upper bounds of the sizes of a model and of the memory of a pass over it, for what jobs ask of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunebench.config.entries import Shape


def block_parameters(shape: Shape) -> int:
    """An upper bound of the weights of a block's linears: no heads share keys and values, and the FFN has a gate."""
    return 4 * shape.hidden * shape.attention + 3 * shape.hidden * shape.ffn


def parameters(shape: Shape) -> int:
    """An upper bound of the weights of a model, whose embedding counts as not tied."""
    return shape.blocks * block_parameters(shape) + 2 * shape.vocabulary * shape.hidden


def streamed_bytes(shape: Shape, tokens: int) -> int:
    """The bytes of a pass over `tokens` that has one block in memory.

    These are copies of the block (stored, in the compute dtype, pruned in float32), embeddings in float32, activations.
    With a GPU, which has copies of its own, the host also holds the next block (see `StreamedModel.block`).
    """
    return 16 * block_parameters(shape) + 8 * shape.vocabulary * shape.hidden + 8 * tokens * shape.hidden


def gram_bytes(shape: Shape) -> int:
    """The bytes of the Gram matrices (float64) of a block's sites, and of a factor and its inverse for the widest."""
    widths = (shape.hidden, shape.attention, shape.hidden, shape.ffn)
    return 8 * (sum(width**2 for width in widths) + 2 * max(widths) ** 2)


def pruning_bytes(shape: Shape, tokens: int) -> int:
    """The bytes of a pass over `tokens` that prunes, with Gram matrices and 2 GiB for the variables of SparseLLM."""
    return streamed_bytes(shape, tokens) + gram_bytes(shape) + 2 * 2**30
