"""The operations of matrix products that a job cannot do without, counted from a model's sizes. No torch is imported.

Norms, softmax, activation functions, sorting, reading and writing are not counted: their time is the distance of an
implementation from its floor. The bench divides measured seconds by these counts; `prunebench plan` multiplies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

DTYPES = ("bfloat16", "float32", "float64")
Flops = dict[str, float]
"""Numbers of operations by the dtype in which they are done."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a decoder from which its operations follow."""

    blocks: int
    linears: dict[str, tuple[int, int]]
    """(out, in) by the linear's name within a block."""
    sites: tuple[int, ...]
    """The widths of a block's sites."""
    attention: int
    """The number of heads times the size of a head."""
    hidden: int
    vocabulary: int

    @property
    def last(self) -> int:
        """The number of weights of the block's last linear, whose output no statistic looks at."""
        out, width = list(self.linears.values())[-1]
        return out * width

    @property
    def weights(self) -> int:
        """The number of weights of all linears of a block."""
        return sum(out * width for out, width in self.linears.values())


def block_forward(sizes: Sizes, tokens: int, seqlen: float) -> float:
    """Count one block on `tokens` tokens. Each attends to (seqlen + 1) / 2 on average, for scores and for values."""
    return 2 * tokens * (sizes.weights + 2 * sizes.attention * (seqlen + 1) / 2)


def statistics_forward(sizes: Sizes, tokens: int, seqlen: float) -> float:
    """Count one block on `tokens` tokens up to the input of its last linear."""
    return block_forward(sizes, tokens, seqlen) - 2 * tokens * sizes.last


def wanda(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Count Wanda: every block once for its statistics, and all but the last once more for the inputs of the next."""
    passes = sizes.blocks * statistics_forward(sizes, tokens, seqlen)
    passes += (sizes.blocks - 1) * block_forward(sizes, tokens, seqlen)
    return {dtype: passes}


def sparsegpt(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Count SparseGPT: the passes of Wanda, one Gram matrix and one factor U per site, and the updates.

    An update multiplies the errors of a column with the columns to its right. A Gram matrix is symmetric, so half of it
    counts, in the dtype of its inputs.
    """
    gram = sum(tokens * width**2 for width in sizes.sites)
    factor = sum(2 / 3 * width**3 for width in sizes.sites)
    updates = sum(out * width**2 for out, width in sizes.linears.values())
    flops = wanda(sizes, tokens, seqlen, dtype)
    flops[dtype] += sizes.blocks * gram
    flops["float64"] = sizes.blocks * (factor + updates)
    return flops


def sparsellm_block(sizes: Sizes, tokens: int, seqlen: float, dtype: str, epochs: int = 4) -> Flops:
    """Count SparseLLM on one block whose losses are recorded in every epoch.

    The block has one forward pass, and its attention SparseGPT's products. In addition the FFN has

    - in every epoch: the outputs of its pruned linears on X and act(z) (once more for the reconstruction loss), the
      d x d system of p and its solution, the elimination, and a factor of the down projection's inputs;
    - between epochs: the right-hand sides of least squares, half of the Gram matrix of p, and the solutions.

    The factors of X serve all epochs. Symmetric products count half, as in `sparsegpt`.
    """
    attention, ffn = list(sizes.linears.values())[:4], list(sizes.linears.values())[4:]
    hidden, width = ffn[-1]
    matrix, into = hidden * width, len(ffn) - 1
    refits = epochs - 1
    products = block_forward(sizes, tokens, seqlen)
    products += sum(tokens * site**2 for site in sizes.sites)
    products += epochs * 2 * tokens * ((into + 3) * matrix + hidden**2)
    products += refits * (2 * tokens * (into + 1) * matrix + tokens * width**2)
    exact = sum(2 / 3 * site**3 for site in sizes.sites) + sum(out * site**2 for out, site in attention)
    exact += epochs * (hidden**2 * width + hidden**3 + sum(out * site**2 for out, site in ffn))
    exact += hidden**3 / 3 + refits * (width**3 + 2 * hidden * width**2 + into * 2 * width * hidden**2)
    return {dtype: products, "float64": exact}


def sparsellm(sizes: Sizes, tokens: int, seqlen: float, dtype: str, epochs: int = 4) -> Flops:
    """Count SparseLLM: every block, and all but the last once more forward for the inputs of the next."""
    block = sparsellm_block(sizes, tokens, seqlen, dtype, epochs)
    flops = {kind: sizes.blocks * count for kind, count in block.items()}
    flops[dtype] += (sizes.blocks - 1) * block_forward(sizes, tokens, seqlen)
    return flops


def perplexity(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Count a perplexity: every block once, and the logits of every token."""
    head = 2 * tokens * sizes.hidden * sizes.vocabulary
    return {dtype: sizes.blocks * block_forward(sizes, tokens, seqlen) + head}


def zeroshot(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Count zero-shot tasks: every block once; only few tokens need logits."""
    return {dtype: sizes.blocks * block_forward(sizes, tokens, seqlen)}


def sensitivity(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Count a pass through every block and one back, without gradients by weights, on a quarter of the tokens."""
    return {dtype: 2 * sizes.blocks * block_forward(sizes, tokens // 4, seqlen)}


COUNTED: dict[str, Callable[..., Flops]] = {
    "wanda": wanda,
    "sparsegpt": sparsegpt,
    "sparsellm": sparsellm,
    "sensitivity": sensitivity,
    "perplexity": perplexity,
    "zeroshot": zeroshot,
}
"""The counts by the kind of work, whose overhead devices.py has. Arguments: sizes, tokens, seqlen, dtype, options."""


def added(one: Flops, other: Flops) -> Flops:
    """Add the operations of two kinds of work, by dtype."""
    return {dtype: one.get(dtype, 0.0) + other.get(dtype, 0.0) for dtype in {**one, **other}}


def seconds(flops: Flops, rates: Mapping[str, float]) -> float:
    """Compute the least time for `flops` at `rates` (operations per second, by dtype)."""
    return sum(count / rates[dtype] for dtype, count in flops.items())
