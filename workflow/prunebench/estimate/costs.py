"""The cost of one job: operations, bytes read and memory, by a formula for each rule, from sizes of model and text.

A time is operations / rate * overhead + bytes / rate of reading + START. Memory is the largest sum of things that exist
at once, without pages of mapped files, which the system takes back. These numbers are for a plan, not for a bill: none
was measured on a card yet. The limits that the scheduler enforces are in plan/resources.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from prunebench.engine.contract import Method
from prunebench.engine.placement.choice import USABLE
from prunebench.engine.stat import Stat
from prunebench.estimate import operations
from prunebench.estimate.devices import GIB, Device
from prunebench.estimate.operations import Flops
from prunebench.estimate.sizes import BYTES, Model
from prunebench.methods.base import MaskingMethod
from prunebench.suites.perplexity import PIECE
from prunebench.suites.workloads import Workload

START = 10.0
"""Seconds to start a job: 8 CPU seconds of imports (docs/performance.md), and Snakemake's own."""
LIBRARIES = 0.6 * GIB
"""Bytes of the host's memory that Python and its libraries take; CUDA takes CONTEXT more, and as much of the card."""
CONTEXT = 1.0 * GIB
ROOM = 4
"""Hidden states lie on the card while they take less than its memory / ROOM (engine.device.roomy_device)."""


@dataclass(frozen=True)
class Cost:
    """The operations, bytes and memory that a job takes."""

    counted: str = ""
    """The kind of work (see COUNTED) whose measured overhead stretches the operations."""
    dtype: str = "bfloat16"
    flops: Flops = field(default_factory=dict)
    read: float = 0.0
    """Bytes of weights that are brought to where they are multiplied, or written."""
    products: Flops = field(default_factory=dict)
    """Operations of long products of matrices, which reach their rates: no overhead stretches them."""
    host: float = LIBRARIES
    """Bytes of the host's memory."""
    card: float = 0.0
    """Bytes on the card; 0 for a job that runs on the host alone."""
    divisible: bool = False
    """Whether the memory on the card can be divided among several cards."""
    disk: float = 0.0
    """Bytes of the result that stay."""
    scratch: float = 0.0
    """Bytes on disk while the job runs."""

    def seconds(self, device: Device, cpu: Device) -> float:
        """Estimate the time on `device`, or on `cpu` if the job runs on the host alone."""
        machine = device if self.card else cpu
        products = operations.seconds(self.flops, machine.rates)
        plain = operations.seconds(self.products, machine.rates)
        return START + machine.overhead(self.counted, self.dtype) * products + plain + self.read / machine.read

    def after(self, first: "Cost") -> "Cost":
        """The cost of one job that does the work of `first` and then its own, in the memory of the larger of the two.

        The overhead is that of its own kind of work.
        """
        return replace(
            self,
            flops=operations.added(first.flops, self.flops),
            products=operations.added(first.products, self.products),
            read=first.read + self.read,
            host=max(first.host, self.host),
            card=max(first.card, self.card),
            scratch=max(first.scratch, self.scratch),
        )

    def solved_in(self, dtype: str) -> "Cost":
        """The cost with the operations of float64 in `dtype`."""
        solving = {dtype: self.flops["float64"]} if "float64" in self.flops else {}
        others = {key: count for key, count in self.flops.items() if key != "float64"}
        return replace(self, flops=operations.added(others, solving))

    def cards(self, device: Device) -> int:
        """Count the cards that the job needs. A job that cannot be divided needs 1, even if it does not fit."""
        if not self.card or device.memory is None:
            return 0
        return math.ceil(self.card / (USABLE * device.memory)) if self.divisible else 1


@dataclass(frozen=True)
class Text:
    """A text that goes through a model, in batches of windows of `seqlen` tokens."""

    tokens: int
    seqlen: int
    batch: int
    dtype: str

    @property
    def item(self) -> int:
        """Bytes of a number in the dtype of the computation."""
        return BYTES[self.dtype]


def profile(model: Model, text: Text, device: Device) -> Cost:
    """Estimate rule profile: the text passes every block once."""
    flops = {text.dtype: model.sizes.blocks * operations.block_forward(model.sizes, text.tokens, text.seqlen)}
    return _streamed(model, text, device, Cost("wanda", text.dtype, flops, read=_bytes(model)))


def gradients(model: Model, text: Text, device: Device) -> Cost:
    """Estimate rule gradients: forward and twice as much backward, a window at a time.

    The sums of gradients are float32, and the whole model is in memory beside them.
    """
    flops = {text.dtype: 3 * operations.perplexity(model.sizes, text.tokens, text.seqlen, text.dtype)[text.dtype]}
    sums = 4.0 * model.prunable
    whole = model.parameters * text.item + sums + model.sizes.blocks * _work(model, replace(text, batch=1))
    cost = Cost("perplexity", text.dtype, flops, read=_bytes(model), disk=sums)
    placed = _placed(cost, model, device, whole)
    return replace(placed, host=placed.host + sums) if device.memory else placed


def allocate(model: Model, text: Text | None, device: Device, steps: int = 0) -> Cost:
    """Estimate rule allocate: from weights, one matrix at a time, or by `steps` of learning in every block.

    Each step passes one sample forward and backward. An allocator's own work on weights is not counted, except that it
    reads them.
    """
    if text is None:
        largest = max(out * width for out, width in model.sizes.linears.values())
        return Cost(read=model.prunable * model.item, host=LIBRARIES + 4 * 8.0 * largest)
    return _learned(model, text, device, steps)


@dataclass(frozen=True)
class Pruning:
    """A prune job, for `Method.cost`: the costs of the usual kinds of method."""

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
        """Estimate a method that reads pruned weights and computes nothing."""
        return Cost(read=_bytes(self.whole))

    def from_weights(self) -> Cost:
        """Estimate a method that looks at no text: float64 scores of the largest matrix, and their order, in memory."""
        model = self.whole
        ranking = 4 * 8.0 * max(out * width for out, width in model.sizes.linears.values())
        size = (model.outside + 2 * model.sizes.weights) * model.item + ranking
        return _placed(Cost(read=2 * _bytes(model)), model, self.device, size)

    def in_blocks(self, counted: str, *, solving: bool = False, solve_dtype: str = "float64", **options: int) -> Cost:
        """Estimate a method that prunes block by block on the text, with the operations of COUNTED[counted].

        `solving` adds the memory of SparseGPT's matrices, which are solved in `solve_dtype`; `options` go to the
        function in COUNTED.
        """
        model, text = self.model, self._text
        flops = operations.COUNTED[counted](model.sizes, text.tokens, text.seqlen, text.dtype, **options)
        cost = Cost(counted, text.dtype, flops, read=2 * _bytes(model)).solved_in(solve_dtype)
        return _streamed(model, text, self.device, cost, _solving(model, BYTES[solve_dtype]) if solving else 0.0)

    def with_products(self, count: int, dtype: str = "float32") -> Cost:
        """SparseGPT's cost, and `count` products in `dtype` of the weights of each linear [out, in] with [in, in]."""
        sizes = self.model.sizes
        block = sum(2.0 * count * out * width**2 for out, width in sizes.linears.values())
        return replace(self.in_blocks("sparsegpt", solving=True), products={dtype: sizes.blocks * block})

    def learned(self, steps: int) -> Cost:
        """Estimate a method that learns in every block, in `steps` on one sample each."""
        return _learned(self.model, self._text, self.device, steps)

    @property
    def _text(self) -> Text:
        assert self.text is not None, "a method without `calibration` in `uses` reads no text"
        return self.text


def evaluate(model: Model, text: Text, device: Device, workload: Workload) -> Cost:
    """Estimate one suite on one model."""
    if workload.streamed:
        return perplexity(model, text, device)
    return zeroshot(model, text, device, workload.generated, workload.models)


def perplexity(model: Model, text: Text, device: Device) -> Cost:
    """Estimate a perplexity: each piece of the text loads every block once; logits of one window are in float32."""
    flops = operations.perplexity(model.sizes, text.tokens, text.seqlen, text.dtype)
    pieces = math.ceil(text.tokens / PIECE)
    piece = replace(text, tokens=min(text.tokens, PIECE))
    logits = 2 * 4.0 * text.seqlen * model.sizes.vocabulary
    return _streamed(model, piece, device, Cost("perplexity", text.dtype, flops, read=pieces * _bytes(model)), logits)


def zeroshot(model: Model, text: Text, device: Device, generated: int = 0, models: int = 1) -> Cost:
    """Estimate tasks on the whole model. Each batch of `generated` tokens, which come one by one, reads all weights.

    `models` are in memory at once.
    """
    flops = operations.zeroshot(model.sizes, text.tokens + generated, text.seqlen, text.dtype)
    weights, logits = models * model.parameters * text.item, 4.0 * text.batch * text.seqlen * model.sizes.vocabulary
    whole = weights + _work(model, text) + logits
    read = _bytes(model)
    if generated:
        # These weights do not come from a file: a card reads its own memory some hundred times as fast.
        read += generated / text.batch * _bytes(model) / 100
    return _placed(Cost("zeroshot", text.dtype, flops, read=read, divisible=True), model, device, whole)


def written(model: Model, text: Text, device: Device) -> Cost:
    """Estimate a calibration text that the model writes itself, token by token."""
    return zeroshot(model, replace(text, tokens=0), device, generated=text.tokens)


def paired(model: Model, text: Text, device: Device) -> Cost:
    """Estimate images with text as the inputs of the first block: what is outside the blocks is read once.

    The windows are float32, with a column that says which tokens count. The vision tower is not counted.
    """
    windows = 4.0 * text.tokens * (model.sizes.hidden + 1)
    placed = _placed(Cost(read=model.outside * model.item, disk=windows), model, device, model.outside * text.item)
    return replace(placed, host=placed.host + 2 * windows)


def search(model: Model, text: Text, device: Device, evaluations: int) -> Cost:
    """Estimate a search: one dense, one uniform and `evaluations` more runs of the model.

    Their masks are made on the host from ranks of 2 bytes.
    """
    runs = evaluations + 2
    flops = operations.perplexity(model.sizes, runs * text.tokens, text.seqlen, text.dtype)
    # Each run reads weights and ranks, and writes masked weights.
    cost = Cost("perplexity", text.dtype, flops, read=runs * 3 * _bytes(model))
    streamed = _streamed(model, text, device, cost, 2 * 4.0 * text.seqlen * model.sizes.vocabulary)
    return replace(streamed, host=streamed.host + 2.0 * model.prunable)


def kept(method: Method, model: Model, sparsity: float, part: float) -> Mapping[str, float]:
    """Estimate the bytes of a cell's weights on disk by the setting of `keep_weights`.

    `packed` takes a bit for each weight, and the kept weights if the method changes them; `mask` takes the bits only.
    The numbers are upper bounds for methods that change kept weights only sometimes, and for methods that never do so
    without being MaskingMethods.
    """
    return _kept(method, model, sparsity, part, changed=not isinstance(method, MaskingMethod))


def surely_kept(method: Method, model: Model, sparsity: float, part: float) -> Mapping[str, float]:
    """Estimate the bytes that `kept` estimates, but never too many.

    Kept weights count only for methods that ask for the Hessian and nothing else: to change weights is what it is for.
    A method that asks for norms too (SparseLLM) may leave the kept weights of some matrices as they are.
    """
    return _kept(method, model, sparsity, part, changed=method.needs == {Stat.HESSIAN})


def _kept(method: Method, model: Model, sparsity: float, part: float, *, changed: bool) -> Mapping[str, float]:
    if "allocator" not in method.uses:
        return {"packed": 0.0, "mask": 0.0, "none": 0.0}
    pruned = part * model.prunable
    values = (1 - sparsity) * pruned * model.item if changed else 0.0
    # A matrix with so few zeros that packing does not pay is written as it is.
    return {"packed": min(pruned / 8 + values, pruned * model.item), "mask": pruned / 8, "none": 0.0}


def _learned(model: Model, text: Text, device: Device, steps: int) -> Cost:
    """Estimate learning as BESA does it: `steps` passes of a block forward and backward on one sample each.

    Five forward passes on all samples come on top.
    """
    learned = 3 * operations.block_forward(model.sizes, steps * text.seqlen, text.seqlen)
    passes = 5 * operations.block_forward(model.sizes, text.tokens, text.seqlen)
    flops = {text.dtype: model.sizes.blocks * (learned + passes)}
    largest = max(out * width for out, width in model.sizes.linears.values())
    extra = 24.0 * largest + 8.0 * model.sizes.weights + text.tokens * model.sizes.hidden * text.item
    return _streamed(model, text, device, Cost("wanda", text.dtype, flops, read=2 * _bytes(model)), extra)


def _streamed(model: Model, text: Text, device: Device, cost: Cost, extra: float = 0.0) -> Cost:
    """Add to `cost` the memory of a pass that has one block in memory: the hidden states of all tokens, embeddings and
    head, the block twice (as read, as used), the activations of one batch, and `extra`."""
    states = text.tokens * model.sizes.hidden * text.item
    rest = model.outside * text.item + 2 * model.sizes.weights * text.item + _work(model, text) + extra
    if device.memory is None or states < device.memory / ROOM:
        return _placed(cost, model, device, rest + states)
    # They travel to the card and back in every block.
    travel = 2 * states * model.sizes.blocks
    placed = _placed(replace(cost, read=cost.read + travel), model, device, rest)
    return replace(placed, host=placed.host + states)


def _placed(cost: Cost, model: Model, device: Device, size: float) -> Cost:
    """Put `size` bytes of `cost` on the card if there is one, which blocks reach through the host; else on the host."""
    if device.memory is None:
        return replace(cost, host=LIBRARIES + size)
    # A block as it is read and as it is used, the next block, which is read ahead, and the rounding of locked memory.
    passing = 4.0 * model.sizes.weights * model.item
    return replace(cost, host=LIBRARIES + CONTEXT + passing, card=CONTEXT + size)


def _work(model: Model, text: Text) -> float:
    """Estimate the bytes of one batch's activations in a block: per token three vectors of the FFN, eight of the hidden
    size, in float32."""
    return 4.0 * text.batch * text.seqlen * (3 * model.ffn + 8 * model.sizes.hidden)


def _solving(model: Model, item: int) -> float:
    """Estimate the bytes of SparseGPT in a block: float64 Gram matrices of all sites, and in numbers of `item` bytes
    the factor and two working copies for the widest site, and its weights stacked twice."""
    widest = max(model.sizes.sites)
    stacked = max(out * width for out, width in model.sizes.linears.values()) * 2
    return 8.0 * sum(width**2 for width in model.sizes.sites) + item * (3.0 * widest**2 + 2 * stacked)


def _bytes(model: Model) -> float:
    return float(model.parameters * model.item)
