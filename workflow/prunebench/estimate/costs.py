"""What one job takes: operations, bytes read, memory. Formulas by rule, in sizes of the model and of the text.

Times are operations / rate * overhead + bytes / rate of reading + START. Memory is the largest sum of things that are
there at once, without pages of mapped files, which the system takes back. All of it is for a plan, not for a bill: on
a card nothing of it was measured yet.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from prunebench.engine.contract import Method
from prunebench.estimate import operations
from prunebench.estimate.devices import GIB, Device
from prunebench.estimate.operations import Flops
from prunebench.estimate.sizes import BYTES, Model
from prunebench.methods.base import MaskingMethod
from prunebench.runtime.gpus import USABLE
from prunebench.suites.perplexity import PIECE
from prunebench.suites.workloads import Workload

START = 10.0
"""Seconds to start a job: 8 CPU seconds of imports (docs/performance.md), and Snakemake's own."""
LIBRARIES = 0.6 * GIB
"""What Python and its libraries take of the host's memory; CUDA takes CONTEXT more, and as much of the card."""
CONTEXT = 1.0 * GIB
ROOM = 4
"""Hidden states lie on the card while they take less than its memory / ROOM (engine.device.roomy_device)."""


@dataclass(frozen=True)
class Cost:
    """What a job takes."""

    counted: str = ""
    """By whose measured overhead its operations are stretched."""
    dtype: str = "bfloat16"
    flops: Flops = field(default_factory=dict)
    read: float = 0.0
    """Bytes of weights brought to where they are multiplied, or written."""
    host: float = LIBRARIES
    """Bytes of the host's memory."""
    card: float = 0.0
    """Bytes on the card; 0 for a job that runs on the host alone."""
    divisible: bool = False
    """Whether its memory on the card can be spread over several."""
    disk: float = 0.0
    """Bytes of its result that stay."""
    scratch: float = 0.0
    """Bytes on disk while it runs."""

    def seconds(self, device: Device, cpu: Device) -> float:
        """On `device`, or on `cpu` if it runs on the host alone."""
        on = device if self.card else cpu
        products = operations.seconds(self.flops, on.rates) if self.flops else 0.0
        return START + on.overhead(self.counted, self.dtype) * products + self.read / on.read

    def cards(self, device: Device) -> int:
        """How many cards it needs; 0 without any, and 1 for a job that cannot be spread even if it does not fit."""
        if not self.card or device.memory is None:
            return 0
        return math.ceil(self.card / (USABLE * device.memory)) if self.divisible else 1


@dataclass(frozen=True)
class Text:
    """Tokens that go through a model, and how."""

    tokens: int
    seqlen: int
    batch: int
    dtype: str

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return BYTES[self.dtype]


def profile(model: Model, text: Text, device: Device) -> Cost:
    """Every block once."""
    flops = {text.dtype: model.sizes.blocks * operations.block_forward(model.sizes, text.tokens, text.seqlen)}
    return _streamed(model, text, device, Cost("wanda", text.dtype, flops, read=_bytes(model)))


def gradients(model: Model, text: Text, device: Device) -> Cost:
    """Forward and twice as much backward, a window at a time; the sums are float32 beside the whole model."""
    flops = {text.dtype: 3 * operations.perplexity(model.sizes, text.tokens, text.seqlen, text.dtype)[text.dtype]}
    sums = 4.0 * model.prunable
    whole = model.parameters * text.item + sums + model.sizes.blocks * _work(model, replace(text, batch=1))
    cost = Cost("perplexity", text.dtype, flops, read=_bytes(model), disk=sums)
    placed = _placed(cost, model, device, whole)
    return replace(placed, host=placed.host + sums) if device.memory else placed


def allocate(model: Model, text: Text | None, device: Device, steps: int = 0) -> Cost:
    """From weights, one matrix at a time, or by `steps` of learning in every block: forward and backward, of a sample.

    Nothing is counted of what an allocator does with weights but reading them.
    """
    if text is None:
        largest = max(out * width for out, width in model.sizes.linears.values())
        return Cost(read=model.prunable * model.item, host=LIBRARIES + 4 * 8.0 * largest)
    return _learned(model, text, device, steps)


@dataclass(frozen=True)
class Pruning:
    """A prune job, for `Method.cost`: what the usual kinds of method take there."""

    whole: Model
    text: Text | None
    """The calibration text, if the method reads any."""
    device: Device
    part: float
    """The part of the blocks that is pruned, the first ones; behind the last of them nothing is computed."""

    @property
    def model(self) -> Model:
        """The model as far as it is pruned."""
        sizes = replace(self.whole.sizes, blocks=max(1, int(self.part * self.whole.sizes.blocks)))
        return replace(self.whole, sizes=sizes)

    def taken_over(self) -> Cost:
        """Weights are read and nothing is computed."""
        return Cost(read=_bytes(self.whole))

    def from_weights(self) -> Cost:
        """No text is looked at: scores of the largest matrix in float64, and their order."""
        model = self.whole
        ranking = 4 * 8.0 * max(out * width for out, width in model.sizes.linears.values())
        size = (model.outside + 2 * model.sizes.weights) * model.item + ranking
        return _placed(Cost(read=2 * _bytes(model)), model, self.device, size)

    def in_blocks(self, counted: str, *, solving: bool = False, **options: int) -> Cost:
        """Block by block on the text, with the operations of COUNTED; `solving`: with SparseGPT's matrices."""
        model, text = self.model, self._text
        flops = operations.COUNTED[counted](model.sizes, text.tokens, text.seqlen, text.dtype, **options)
        cost = Cost(counted, text.dtype, flops, read=2 * _bytes(model))
        return _streamed(model, text, self.device, cost, _solving(model) if solving else 0.0)

    def learned(self, steps: int) -> Cost:
        """`steps` of learning in every block, each on a sample."""
        return _learned(self.model, self._text, self.device, steps)

    @property
    def _text(self) -> Text:
        assert self.text is not None, "a method without `calibration` in `uses` reads no text"
        return self.text


def evaluate(model: Model, text: Text, device: Device, workload: Workload) -> Cost:
    """One suite on one model."""
    if workload.streamed:
        return perplexity(model, text, device)
    return zeroshot(model, text, device, workload.generated)


def perplexity(model: Model, text: Text, device: Device) -> Cost:
    """Every block once for each piece of the text, and the logits of one window at a time in float32."""
    flops = operations.perplexity(model.sizes, text.tokens, text.seqlen, text.dtype)
    pieces = math.ceil(text.tokens / PIECE)
    piece = replace(text, tokens=min(text.tokens, PIECE))
    logits = 2 * 4.0 * text.seqlen * model.sizes.vocabulary
    return _streamed(model, piece, device, Cost("perplexity", text.dtype, flops, read=pieces * _bytes(model)), logits)


def zeroshot(model: Model, text: Text, device: Device, generated: int = 0) -> Cost:
    """The whole model on rows of tasks. `generated` tokens come one by one, each batch of them reads all weights."""
    flops = operations.zeroshot(model.sizes, text.tokens + generated, text.seqlen, text.dtype)
    whole = model.parameters * text.item + _work(model, text) + 4.0 * text.batch * text.seqlen * model.sizes.vocabulary
    read = _bytes(model)
    if generated:
        # Not from a file: a card reads its own memory some hundred times as fast.
        read += generated / text.batch * _bytes(model) / 100
    return _placed(Cost("zeroshot", text.dtype, flops, read=read, divisible=True), model, device, whole)


def search(model: Model, text: Text, device: Device, evaluations: int) -> Cost:
    """Dense, uniform and `evaluations` runs of the model, whose masks are made on the host from ranks of 2 bytes."""
    runs = evaluations + 2
    flops = operations.perplexity(model.sizes, runs * text.tokens, text.seqlen, text.dtype)
    # Weights, ranks and what comes of them.
    cost = Cost("perplexity", text.dtype, flops, read=runs * 3 * _bytes(model))
    streamed = _streamed(model, text, device, cost, 2 * 4.0 * text.seqlen * model.sizes.vocabulary)
    return replace(streamed, host=streamed.host + 2.0 * model.prunable)


def kept(method: Method, model: Model, sparsity: float, part: float) -> Mapping[str, float]:
    """Bytes of a cell's weights on disk by what is kept: packed (a bit each, and those left where any changed), mask.

    Upper bounds for methods that only sometimes change what they keep.
    """
    if "allocator" not in method.uses:
        return {"packed": 0.0, "mask": 0.0, "none": 0.0}
    pruned = part * model.prunable
    values = 0.0 if isinstance(method, MaskingMethod) else (1 - sparsity) * pruned * model.item
    return {"packed": pruned / 8 + values, "mask": pruned / 8, "none": 0.0}


def _learned(model: Model, text: Text, device: Device, steps: int) -> Cost:
    """BESA: `steps` forward and backward passes of a block on one sample, and five forward passes on all."""
    learned = 3 * operations.block_forward(model.sizes, steps * text.seqlen, text.seqlen)
    passes = 5 * operations.block_forward(model.sizes, text.tokens, text.seqlen)
    flops = {text.dtype: model.sizes.blocks * (learned + passes)}
    largest = max(out * width for out, width in model.sizes.linears.values())
    extra = 24.0 * largest + 8.0 * model.sizes.weights + text.tokens * model.sizes.hidden * text.item
    return _streamed(model, text, device, Cost("wanda", text.dtype, flops, read=2 * _bytes(model)), extra)


def _streamed(model: Model, text: Text, device: Device, cost: Cost, extra: float = 0.0) -> Cost:
    """`cost` with the memory of a pass that has one block in memory: the hidden states of all tokens, embeddings and
    head, a block twice (as read, as used), what one batch leaves, and `extra`."""
    states = text.tokens * model.sizes.hidden * text.item
    rest = model.outside * text.item + 2 * model.sizes.weights * text.item + _work(model, text) + extra
    if device.memory is None or states < device.memory / ROOM:
        return _placed(cost, model, device, rest + states)
    # They travel to the card and back in every block.
    travel = 2 * states * model.sizes.blocks
    placed = _placed(replace(cost, read=cost.read + travel), model, device, rest)
    return replace(placed, host=placed.host + states)


def _placed(cost: Cost, model: Model, device: Device, size: float) -> Cost:
    """`cost` with `size` bytes on the card if there is one, which blocks pass the host on their way to, else there."""
    if device.memory is None:
        return replace(cost, host=LIBRARIES + size)
    passing = 2.0 * model.sizes.weights * model.item
    return replace(cost, host=LIBRARIES + CONTEXT + passing, card=CONTEXT + size)


def _work(model: Model, text: Text) -> float:
    """Bytes that one batch leaves in a block: of each token three vectors of the FFN and eight of the hidden size."""
    return 4.0 * text.batch * text.seqlen * (3 * model.ffn + 8 * model.sizes.hidden)


def _solving(model: Model) -> float:
    """Bytes of SparseGPT in a block: float64 Gram matrices of all sites; of the widest one the factor and two copies
    to work with, and its weights stacked twice."""
    widest = max(model.sizes.sites)
    stacked = max(out * width for out, width in model.sizes.linears.values()) * 2
    return 8.0 * (sum(width**2 for width in model.sizes.sites) + 3 * widest**2 + 2 * stacked)


def _bytes(model: Model) -> float:
    return float(model.parameters * model.item)
