"""The hidden states of all samples between two blocks, and the step from one block to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunebench.engine.finite import cause
from prunebench.engine.model import BlockCall, StreamedModel, block_output
from prunebench.engine.placement.device import roomy_device
from prunebench.errors import CellFailure
from prunebench.formulas.finite import are_finite


class Activations:
    """The hidden states of all calibration samples between two blocks, as batches [batch, seqlen, hidden]."""

    def __init__(
        self,
        hidden: list[Tensor],
        calls: list[list[BlockCall]],
        single: list[BlockCall],
        device: torch.device,
        counted: list[Tensor] | None = None,
    ) -> None:
        """`calls[i][b]` are the arguments of block b for batch i, `single[b]` those for a batch of one sample.

        `counted[i]`, bool [batch, seqlen], says which tokens of batch i statistics count; None stands for all.
        """
        self.hidden, self._calls, self._single, self._device = hidden, calls, single, device
        self._counted, self._running = counted, 0

    def __len__(self) -> int:
        return len(self.hidden)

    @property
    def tokens(self) -> int:
        """The number of tokens of all samples."""
        return sum(states.shape[:-1].numel() for states in self.hidden)

    def run(
        self,
        module: nn.Module,
        block: int,
        batch: int,
        weights: Mapping[str, Tensor] | None = None,
        row: int | None = None,
    ) -> Tensor:
        """The output [batch, seqlen, hidden] of block number `block` (`module`) on batch number `batch`.

        `weights` (by parameter name in the block) replace the block's own. With `row` only that sample of the batch is
        run, and the output is [1, seqlen, hidden].
        """
        self._running = batch
        call, hidden = self._calls[batch][block], self.hidden[batch]
        if row is not None:
            call, hidden = call.of_sample(row, self._single[block]), hidden[row : row + 1]
        hidden = hidden.to(self._device)
        return block_output(functional_call(module, dict(weights or {}), (hidden, *call.args), call.kwargs))

    def copy(self) -> Activations:
        """A second stream over the same samples."""
        return Activations(list(self.hidden), self._calls, self._single, self._device, self._counted)

    def counted(self) -> Tensor | None:
        """Which tokens of the running batch statistics count: bool [batch, seqlen]; None stands for all."""
        return self._counted[self._running] if self._counted else None


def embed(model: StreamedModel, tokens: Tensor, batch_size: int, *, finite: bool = True) -> Activations:
    """The inputs of block 0 for token ids [samples, seqlen]; on the GPU if it has room.

    Instead of token ids there may be floats [samples, seqlen, hidden + 1]: embeddings, and in the last column 1 for
    each token that statistics count, 0 for others. With `finite`, raises CellFailure, which names the damaged tensor if
    there is one, if a number is not finite.
    """
    keep: torch.device | None = None
    hidden, calls = [], []
    counted = None
    if tokens.is_floating_point():
        counted = [(batch[..., -1] > 0).to(model.device) for batch in tokens.split(batch_size)]
        tokens = tokens[..., :-1]
    for batch in tokens.split(batch_size):
        states, call = model.embed(batch)
        keep = keep or roomy_device(model.device, states[0].nbytes * len(tokens))
        hidden.append(states.to(keep))
        calls.append(call)
    if finite and not are_finite(hidden):
        reason = cause(model.tensors, hidden[0].dtype)
        raise CellFailure(f"the model's embedding of the tokens is NaN or infinite: {reason}")
    _, single = model.embed(tokens[:1])
    return Activations(hidden, calls, single, model.device, counted)


@torch.no_grad()
def outputs(activations: Activations, module: nn.Module, block: int) -> Iterator[Tensor]:
    """The outputs of block number `block` (`module`), batch by batch, each on the device of its input."""
    for batch, states in enumerate(activations.hidden):
        yield activations.run(module, block, batch).to(states.device)


def advance(activations: Activations, module: nn.Module, block: int) -> None:
    """Replace the inputs of `block` by its outputs, one batch after the other, so that only one stream is in memory."""
    for batch, states in enumerate(outputs(activations, module, block)):
        activations.hidden[batch] = states
