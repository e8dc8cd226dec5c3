"""What a method sees of one decoder block: its weights, the calibration tokens, trial forward passes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from prunebench.engine.activations import Activations, outputs
from prunebench.engine.model import StreamedModel
from prunebench.engine.placement.spill import Spill
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import Accumulator, SiteStatistic, Statistics
from prunebench.errors import CellFailure
from prunebench.models.base import FeedForward, Site
from prunebench.storage.tensors import TensorStore


class BlockView:
    """One block during pruning. Linears go by their names within the block, as in `family.sites`."""

    def __init__(
        self,
        module: nn.Module,
        index: int,
        activations: Activations | None,
        dense: Activations | None = None,
        *,
        model: StreamedModel,
        gradients: Mapping[str, Tensor] | None = None,
        assets: Mapping[str, Path] | None = None,
        seed: int = 0,
        scratch: Path | None = None,
    ) -> None:
        """`activations`: inputs of this block in the pruned model; `dense`: in the dense model, if it is carried.

        `gradients`: those of rule `gradients`, by full linear name, if the method asks for them.
        `assets`: the directories of what the method declares in `assets`. `scratch`: where large tensors may go.
        """
        self.index, self.seed = index, seed
        """Position in the model, and the cell's seed, for methods that draw random numbers."""
        self._module, self._model, self._family = module, model, model.family
        self._activations, self._dense = activations, dense
        self._gradients = gradients
        self._assets = assets or {}
        self._scratch = scratch
        self._installed: dict[str, Tensor] = {}
        """Parameters by their paths in the block, as they will be stored."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """The inputs of this block's linears, in the order of the forward pass."""
        return self._family.sites

    @property
    def ffn(self) -> FeedForward:
        """Which linears play which part in the FFN."""
        return self._family.ffn

    @property
    def full_names(self) -> dict[str, str]:
        """The name in the whole model of each linear."""
        return {linear: self._family.full_name(self.index, linear) for linear in self._family.linears()}

    @property
    def original(self) -> TensorStore:
        """All tensors of the unpruned model, by full name."""
        return self._model.tensors

    @property
    def parameters(self) -> Mapping[str, str]:
        """The full names of all parameters of the model, each with the one that it is tied to (itself, mostly)."""
        return self._model.parameters

    def owner(self, tensor: str) -> int | None:
        """Index of the block that a tensor (full name) belongs to; None if it stands outside the blocks."""
        path = tensor.removeprefix(f"{self._family.blocks}.")
        return int(path.partition(".")[0]) if path != tensor else None

    def asset(self, name: str) -> TensorStore:
        """The tensors of a model that the method declares in `assets`."""
        return TensorStore(self._assets[name])

    @property
    def activation(self) -> Callable[[Tensor], Tensor]:
        """The FFN's elementwise non-linearity."""
        activation: Callable[[Tensor], Tensor] = self._module.get_submodule(self.ffn.activation)
        return activation

    @property
    def batches(self) -> range:
        """Indices of the calibration batches."""
        return range(len(self._stream(dense=False)))

    @property
    def samples(self) -> list[tuple[int, int]]:
        """Each calibration sample as its batch and its row there."""
        return [
            (batch, row) for batch, states in enumerate(self._stream(dense=False).hidden) for row in range(len(states))
        ]

    @property
    def tokens(self) -> int:
        """How many calibration tokens there are."""
        return self._stream(dense=False).tokens

    def spill(self, resident: float) -> Spill:
        """Room for tensors with a row per calibration token, of which `resident` GiB in memory."""
        return Spill(self._scratch or Path(tempfile.gettempdir()), self._model.device, resident)

    def weight(self, linear: str) -> Tensor:
        """The current weight [out, in] of a linear, exact: in the dtype of its storage where the block runs in less."""
        return self._exact(f"{linear}.weight")

    def bias(self, linear: str) -> Tensor | None:
        """The bias [out] of a linear, if it has one; exact like the weight."""
        return None if self._module.get_submodule(linear).bias is None else self._exact(f"{linear}.bias")

    def _exact(self, path: str) -> Tensor:
        """The current value of a parameter (its path in the block), before it is rounded for the forward passes."""
        now = self._module.get_parameter(path).detach()
        name = self._family.full_name(self.index, path)
        stored = self._model.stored_dtype(name)
        if torch.promote_types(stored, now.dtype) == now.dtype:
            return now
        return self._installed[path] if path in self._installed else self._model.stored(name).to(now.device)

    def gradient(self, linear: str) -> Tensor:
        """sqrt(sum over calibration windows of (d loss / d W)^2), float32 [out, in], of the unpruned model.

        Raises CellFailure if one is not finite.
        """
        if self._gradients is None:
            raise RuntimeError("the method reads gradients without declaring Stat.GRADIENT in `needs`")
        gradient = self._gradients[self.full_names[linear]]
        if not gradient.sum(dtype=torch.float64).isfinite():
            raise CellFailure(
                f"the gradients of {self.full_names[linear]} are NaN or infinite on the calibration tokens: "
                "use bfloat16 or float32"
            )
        return gradient.to(self._model.device)

    @torch.no_grad()
    def install(self, weights: Mapping[str, Tensor]) -> None:
        """Make these the current weights of the block, rounded to what will be stored: later sites and blocks must
        see the weights that are evaluated in the end."""
        self.restore({f"{self._family.full_name(self.index, linear)}.weight": weights[linear] for linear in weights})

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """As `install`, for any tensors by their full names; those outside this block are passed over."""
        for name, tensor in tensors.items():
            if self.owner(name) == self.index:
                path = name.removeprefix(self._family.full_name(self.index, ""))
                now = self._module.get_parameter(path)
                self._installed[path] = tensor.to(now.device, self._model.stored_dtype(name))
                rounded = self._installed[path].to(now.dtype)
                module, _, attribute = path.rpartition(".")
                setattr(self._module.get_submodule(module), attribute, nn.Parameter(rounded, requires_grad=False))

    def forward(
        self,
        batch: int,
        weights: Mapping[str, Tensor] | None = None,
        *,
        dense: bool = False,
        row: int | None = None,
    ) -> Tensor:
        """The block's output [batch, seqlen, hidden] on calibration batch `batch`, or on that `row` of it alone.

        `weights` (linear -> [out, in]) are tried in place of the current ones, which stay; the result is
        differentiable in them. `dense`: with the dense model's hidden states as input.
        """
        paths = {f"{linear}.weight": weight for linear, weight in (weights or {}).items()}
        trial = {path: weight.to(self._module.get_parameter(path).dtype) for path, weight in paths.items()}
        return self._stream(dense).run(self._module, self.index, batch, trial, row)

    def outputs(self) -> list[Tensor]:
        """The block's outputs [batch, seqlen, hidden] on all batches, each kept where its input is."""
        return list(outputs(self._stream(dense=False), self._module, self.index))

    @torch.no_grad()
    def stream(
        self, points: Sequence[str], weights: Mapping[str, Tensor] | None = None, *, dense: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Go through the calibration tokens in chunks; each chunk maps every point to its values [tokens, width].

        A point is a linear's input or output: "mlp.down_proj.in", "fc1.out". May be called as often as needed; the
        order of the tokens is always the same.
        """
        seen: dict[str, Tensor] = {}
        handles = [self._watch(point, seen) for point in points]
        try:
            for batch in range(len(self._stream(dense))):
                self.forward(batch, weights, dense=dense)
                yield {point: seen[point] for point in points}
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def collect(self, sites: Collection[str], needs: Collection[Stat]) -> dict[str, SiteStatistic]:
        """Statistics of `sites` with the current weights, from one pass over the calibration tokens.

        Without any `needs` nothing runs and they are empty.
        """
        chosen = [site for site in self.sites if site.name in sites]
        if not needs:
            return {site.name: SiteStatistic() for site in chosen}
        last = self._module.get_submodule(chosen[-1].linears[0])
        with Accumulator(self._module, chosen, needs) as accumulator, _ending_at(last):
            for batch in self.batches:
                with suppress(_End):
                    self.forward(batch)
        return accumulator.statistics

    def statistics(self, needs: Collection[Stat], sites: Collection[str] = ()) -> Statistics:
        """Statistics with the weights that the block has when they are first asked for; those of `sites` at once."""
        return Statistics(lambda wanted: self.collect(wanted, needs), sites)

    def _stream(self, dense: bool) -> Activations:
        stream = self._dense if dense else self._activations
        if stream is None:
            what = "`dense_stream = True`" if dense else "the axis 'calibration' in `uses`"
            raise RuntimeError(f"the method looks at activations without declaring {what}")
        return stream

    def _watch(self, point: str, seen: dict[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
        linear, _, side = point.rpartition(".")
        module = self._module.get_submodule(linear)
        if side == "in":
            return module.register_forward_pre_hook(lambda _, inputs: seen.__setitem__(point, inputs[0].flatten(0, -2)))
        if side == "out":
            # A copy: some blocks go on with the tensor itself, and add to it or clamp it in place.
            return module.register_forward_hook(
                lambda _, __, output: seen.__setitem__(point, output.flatten(0, -2).clone())
            )
        raise ValueError(f"point {point!r} must end in '.in' or '.out'")


class _End(Exception):
    """The rest of a forward pass is of no use."""


@contextmanager
def _ending_at(linear: nn.Module) -> Iterator[None]:
    """Forward passes raise _End at the input of `linear`: what statistics do not see need not be computed."""

    def end(*_: object) -> None:
        raise _End

    handle = linear.register_forward_pre_hook(end)
    try:
        yield
    finally:
        handle.remove()
