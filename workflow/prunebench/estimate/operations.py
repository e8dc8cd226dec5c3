"""Operations of matrix products that a job cannot do without, counted from a model's sizes. Light: no torch.

Norms, softmax, activation functions, sorting, reading and writing are not counted: the time that they take is what
separates a good implementation from its floor. The bench divides measured seconds by these counts, `prunebench plan`
goes the other way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

DTYPES = ("bfloat16", "float32", "float64")
Flops = dict[str, float]
"""Operations by the dtype in which they are done."""


@dataclass(frozen=True)
class Sizes:
    """What the operations of a decoder follow from."""

    blocks: int
    linears: dict[str, tuple[int, int]]
    """(out, in) by the linear's name within a block."""
    sites: tuple[int, ...]
    """Widths of a block's sites."""
    attention: int
    """Heads times head size."""
    hidden: int
    vocabulary: int

    @property
    def last(self) -> int:
        """Weights of the block's last linear, whose output no statistic looks at."""
        out, width = list(self.linears.values())[-1]
        return out * width

    @property
    def weights(self) -> int:
        """Of all linears of a block."""
        return sum(out * width for out, width in self.linears.values())


def block_forward(sizes: Sizes, tokens: int, seqlen: float) -> float:
    """One block on `tokens` tokens: each attends to (seqlen + 1) / 2 on average, once for scores, once for values."""
    return 2 * tokens * (sizes.weights + 2 * sizes.attention * (seqlen + 1) / 2)


def statistics_forward(sizes: Sizes, tokens: int, seqlen: float) -> float:
    """The same as far as the input of the last linear."""
    return block_forward(sizes, tokens, seqlen) - 2 * tokens * sizes.last


def wanda(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Every block once for its statistics, and once more, but the last, for the inputs of the next."""
    passes = sizes.blocks * statistics_forward(sizes, tokens, seqlen)
    passes += (sizes.blocks - 1) * block_forward(sizes, tokens, seqlen)
    return {dtype: passes}


def sparsegpt(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """As Wanda, and: one Gram matrix and one factor U per site, every column's errors times what is right of it.

    A Gram matrix is symmetric, so half of it, in the dtype of its inputs.
    """
    gram = sum(tokens * width**2 for width in sizes.sites)
    factor = sum(2 / 3 * width**3 for width in sizes.sites)
    updates = sum(out * width**2 for out, width in sizes.linears.values())
    flops = wanda(sizes, tokens, seqlen, dtype)
    flops[dtype] += sizes.blocks * gram
    flops["float64"] = sizes.blocks * (factor + updates)
    return flops


def sparsellm_block(sizes: Sizes, tokens: int, seqlen: float, dtype: str, epochs: int = 4) -> Flops:
    """One block, its losses recorded in every epoch: its forward pass once, SparseGPT's products for its attention, and

    - in every epoch, of the FFN: what its pruned linears make of X and act(z) (once more for the reconstruction loss),
      the d x d system of p and its solution; elimination, and a factor of the down projection's inputs;
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
    """Every block, and once more forward, but the last, for the inputs of the next."""
    flops = {of: sizes.blocks * count for of, count in sparsellm_block(sizes, tokens, seqlen, dtype, epochs).items()}
    flops[dtype] += (sizes.blocks - 1) * block_forward(sizes, tokens, seqlen)
    return flops


def perplexity(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Every block once, and the logits of every token."""
    head = 2 * tokens * sizes.hidden * sizes.vocabulary
    return {dtype: sizes.blocks * block_forward(sizes, tokens, seqlen) + head}


def zeroshot(sizes: Sizes, tokens: int, seqlen: float, dtype: str) -> Flops:
    """Every block once; logits are needed of few tokens."""
    return {dtype: sizes.blocks * block_forward(sizes, tokens, seqlen)}


COUNTED: dict[str, Callable[..., Flops]] = {
    "wanda": wanda,
    "sparsegpt": sparsegpt,
    "sparsellm": sparsellm,
    "perplexity": perplexity,
    "zeroshot": zeroshot,
}
"""By the kind of work, whose overhead is measured (devices.py). Arguments: sizes, tokens, seqlen, dtype, options."""


def seconds(flops: Flops, rates: Mapping[str, float]) -> float:
    """The least time for `flops` at `rates` (operations per second, by dtype)."""
    return sum(count / rates[dtype] for dtype, count in flops.items())
