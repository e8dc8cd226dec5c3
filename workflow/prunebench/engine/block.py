"""One decoder block as a method sees it: its weights, the calibration tokens, trial forward passes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from prunebench.engine.activations import Activations, advance, outputs
from prunebench.engine.attention import QuickAttention, repeatable_attention
from prunebench.engine.dense import DENSE_RESIDENT, DenseRecord
from prunebench.engine.finite import cause, check_block, check_statistic
from prunebench.engine.model import StreamedModel
from prunebench.engine.passes import Passes
from prunebench.engine.placement.device import GIB
from prunebench.engine.placement.spill import Spill
from prunebench.engine.points import End, ending_at, probing, watching
from prunebench.engine.stat import Stat
from prunebench.engine.statistics import Accumulator, SiteStatistic, Statistics
from prunebench.errors import CellFailure, PluginMistake, PrunebenchError
from prunebench.formulas.finite import is_finite
from prunebench.models.base import FeedForward, Site
from prunebench.runtime.progress import within
from prunebench.storage.tensors import TensorStore

WAITING = 2.0
"""GiB that the values of waiting forward passes may take."""


class BlockView:
    """One block during pruning. Linears are called by their names within the block, as in `family.sites`."""

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
        """`activations` are the block's inputs in the pruned model, `dense` those in the dense model, if kept.

        `gradients` are the results of rule `gradients`, by full linear name, if the method needs them. `assets` are the
        directories of the method's `assets`. `scratch` is a directory for large tensors.
        """
        self.index, self.seed = index, seed
        """The number of the block in the model, and the cell's seed, for methods that draw random numbers."""
        self._module, self._model, self._family = module, model, model.family
        self._activations, self._dense = activations, dense
        self._gradients = gradients
        self._assets = assets or {}
        self._scratch = scratch
        self._installed: dict[str, Tensor] = {}
        """The parameters by their paths in the block, in the dtype of their storage."""
        self._record: DenseRecord | None = None
        self._passes: Passes | None = None
        self._ahead: set[str] = set()
        """The weights that no waiting pass has used."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """The inputs of this block's linears, in the order of the forward pass."""
        return self._family.sites

    @property
    def ffn(self) -> FeedForward:
        """The roles of the FFN's linears."""
        return self._family.ffn

    @property
    def attention_out(self) -> str:
        """The linear that ends the attention."""
        return next(site.linears[0] for site in self.sites if site.name == "attention_out")

    @property
    def full_names(self) -> dict[str, str]:
        """A map from each linear's name in the block to its full name in the model."""
        return {linear: self._family.full_name(self.index, linear) for linear in self._family.linears()}

    @property
    def original(self) -> TensorStore:
        """All tensors of the unpruned model, by full name."""
        return self._model.tensors

    @property
    def parameters(self) -> Mapping[str, str]:
        """A map from the full name of each parameter of the model to the one it is tied to (mostly itself)."""
        return self._model.parameters

    def owner(self, tensor: str) -> int | None:
        """The number of the block that holds a tensor (full name); None for a tensor outside the blocks."""
        path = tensor.removeprefix(f"{self._family.blocks}.")
        return int(path.partition(".")[0]) if path != tensor else None

    def asset(self, name: str) -> TensorStore:
        """The tensors of the model `name`, which the method declares in `assets`."""
        return TensorStore(self._assets[name])

    @property
    def activation(self) -> Callable[[Tensor], Tensor]:
        """The FFN's elementwise non-linearity."""
        activation: Callable[[Tensor], Tensor] = self._module.get_submodule(self.ffn.activation)
        return activation

    @property
    def batches(self) -> range:
        """The numbers of the calibration batches."""
        return range(len(self._stream(dense=False)))

    @property
    def samples(self) -> list[tuple[int, int]]:
        """The (batch, row) of each calibration sample."""
        return [
            (batch, row) for batch, states in enumerate(self._stream(dense=False).hidden) for row in range(len(states))
        ]

    @property
    def tokens(self) -> int:
        """The number of calibration tokens."""
        return self._stream(dense=False).tokens

    def spill(self, resident: float) -> Spill:
        """Storage for tensors with a row per calibration token; at most `resident` GiB of them are in memory."""
        return Spill(self._scratch or Path(tempfile.gettempdir()), self._model.device, resident)

    def check_weights(self) -> None:
        """Raise CellFailure, which names tensor and file, if a weight of the block is not finite."""
        check_block(self._module, self._family.full_name(self.index, ""), self._model.tensors)

    def weight(self, linear: str) -> Tensor:
        """The current weight [out, in] of a linear, exact: in its storage dtype if the block runs in a smaller one."""
        return self._exact(f"{linear}.weight")

    def bias(self, linear: str) -> Tensor | None:
        """The bias [out] of a linear, exact like the weight, or None."""
        return None if self._module.get_submodule(linear).bias is None else self._exact(f"{linear}.bias")

    def _exact(self, path: str) -> Tensor:
        """The current value of a parameter (path in the block) before it is rounded for the forward passes."""
        current = self._module.get_parameter(path).detach()
        name = self._family.full_name(self.index, path)
        stored = self._model.stored_dtype(name)
        if torch.promote_types(stored, current.dtype) == current.dtype:
            return current
        return self._installed[path] if path in self._installed else self._model.stored(name).to(current.device)

    def gradient(self, linear: str) -> Tensor:
        """sqrt(sum over calibration windows of (d loss / d W)^2), float32 [out, in], of the unpruned model.

        Raises CellFailure if one is not finite, PluginMistake if the method does not declare Stat.GRADIENT.
        """
        if self._gradients is None:
            raise PluginMistake("the method reads gradients without declaring Stat.GRADIENT in `needs`")
        gradient = self._gradients[self.full_names[linear]]
        if not is_finite(gradient):
            reason = cause(self.original, self._module.get_parameter(f"{linear}.weight").dtype)
            raise CellFailure(f"the gradients of {self.full_names[linear]} are NaN or infinite: {reason}")
        return gradient.to(self._model.device)

    @torch.no_grad()
    def install(self, weights: Mapping[str, Tensor]) -> None:
        """Make `weights` (linear -> [out, in]) the block's current weights, rounded as they will be stored.

        Later sites and blocks then see the weights that are evaluated in the end.
        """
        self.restore({f"{self._family.full_name(self.index, linear)}.weight": weights[linear] for linear in weights})
        within(len(self._installed) / len(self.full_names), ", ".join(weights))

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Make `tensors` (by full name) current, as `install` does; tensors outside this block are ignored."""
        for name, tensor in tensors.items():
            if self.owner(name) == self.index:
                path = name.removeprefix(self._family.full_name(self.index, ""))
                current = self._module.get_parameter(path)
                self._installed[path] = tensor.to(current.device, self._model.stored_dtype(name))
                rounded = self._installed[path].to(current.dtype)
                if self._passes and path not in self._ahead and not torch.equal(rounded, current):
                    self._passes = None  # they went by with the weights from before
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
        """The block's output [batch, seqlen, hidden] on calibration batch `batch`, or on its sample `row` alone.

        `weights` (linear -> [out, in]) replace the current weights in this call only; the result is differentiable in
        them. With `dense` the input is the dense model's hidden states.
        """
        paths = {f"{linear}.weight": weight for linear, weight in (weights or {}).items()}
        trial = {path: weight.to(self._module.get_parameter(path).dtype) for path, weight in paths.items()}
        with QuickAttention():
            return self._stream(dense).run(self._module, self.index, batch, trial, row)

    @property
    def _points(self) -> list[str]:
        """The inputs of all sites, and the output of the attention."""
        return [*(f"{site.linears[0]}.in" for site in self.sites), f"{self.attention_out}.out"]

    def record_dense(self) -> None:
        """Run the dense stream through the block, which must be unpruned, and keep what `dense_values` reads."""
        down = f"{self.ffn.down}.out"
        record = DenseRecord(self._points, down, self.tokens, self.spill(DENSE_RESIDENT))
        with watching(self._module, [*self._points, down]) as values, torch.no_grad():
            for batch, states in enumerate(self._stream(dense=True).hidden):
                record.add(states, self.forward(batch, dense=True), values)
        self._record = record

    @property
    def adds_up(self) -> bool:
        """Whether the block's output is its input plus the outputs of attention and FFN, in the recorded dense stream.

        Some architectures put norms or factors in between.
        """
        return self._recorded.adds_up

    def dense_values(self, batch: int, point: str) -> Tensor:
        """The values [tokens, width] that the unpruned block has on a calibration batch in the dense model.

        `point` is the input of a site's first linear, or the output of the attention (see `stream`).
        """
        return self._recorded.values(batch, point).to(self._model.device)

    def dense_outputs(self) -> list[Tensor]:
        """The outputs of the unpruned block in the dense model. If it was not recorded, it must be unpruned still."""
        return self._record.outputs if self._record else self._outputs(dense=True)

    def inputs(self, batch: int, *, dense: bool = False) -> Tensor:
        """The block's inputs [batch, seqlen, hidden] on a calibration batch, with `dense` in the dense model."""
        return self._stream(dense).hidden[batch].to(self._model.device)

    def outputs(self) -> list[Tensor]:
        """The block's outputs [batch, seqlen, hidden] on all batches, each on the device of its input."""
        return self._outputs(dense=False)

    def _outputs(self, *, dense: bool) -> list[Tensor]:
        with QuickAttention():
            return list(outputs(self._stream(dense), self._module, self.index))

    def advance(self) -> None:
        """Replace the calibration stream, the inputs of this block, by the block's outputs."""
        stream = self._stream(dense=False)
        if self._passes is None:
            with QuickAttention():
                return advance(stream, self._module, self.index)
        for batch, states in enumerate(stream.hidden):
            stream.hidden[batch] = self._passes.output(batch).to(states.device)
        self._passes = None

    @torch.no_grad()
    def stream(
        self, points: Sequence[str], weights: Mapping[str, Tensor] | None = None, *, dense: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Iterate over the calibration tokens in chunks; each chunk maps every point to its values [tokens, width].

        A point is a linear's input or output: "mlp.down_proj.in", "fc1.out". The order of the tokens is the same in
        every call. Raises PluginMistake for a point that ends in neither.
        """
        for batch in range(len(self._stream(dense))):
            yield self.values(batch, points, weights, dense=dense)

    def values(
        self,
        batch: int,
        points: Sequence[str],
        weights: Mapping[str, Tensor] | None = None,
        *,
        dense: bool = False,
        until: str | None = None,
        row: int | None = None,
    ) -> dict[str, Tensor]:
        """The values [tokens, width] at `points` on calibration batch `batch`, or on its sample `row`; see `stream`.

        They are differentiable in `weights`. The pass ends at the input of the linear `until`, behind which no point
        may lie.
        """
        ending = ending_at(self._module.get_submodule(until)) if until else nullcontext()
        with watching(self._module, points) as values, ending, suppress(End):
            self.forward(batch, weights, dense=dense, row=row)
        return {point: values[point] for point in points}

    def gradients_by_outputs(self, batch: int, row: int, loss: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """The gradients [tokens, out] of a loss by the outputs of each linear, on sample `row` of calibration batch
        `batch` in the dense stream. `loss` maps the block's output [1, seqlen, hidden] to a scalar.

        Raises PrunebenchError if the forward pass does not call a linear.
        """
        linears = list(self.full_names)
        with torch.enable_grad(), repeatable_attention(), probing(self._module, linears) as probes:
            value = loss(self.forward(batch, dense=True, row=row))
            if uncalled := [linear for linear in linears if linear not in probes]:
                raise PrunebenchError(
                    f"blocks of this model do not call {', '.join(uncalled)}: this variant of the architecture is "
                    "not known"
                )
            gradients = torch.autograd.grad(value, [probes[linear] for linear in linears], materialize_grads=True)
        return {linear: gradient.flatten(0, -2) for linear, gradient in zip(linears, gradients, strict=True)}

    @torch.no_grad()
    def values_until(self, batch: int, linear: str) -> dict[str, Tensor]:
        """The values on calibration batch `batch` in a forward pass that has come to the input of `linear`.

        Points are those of `dense_values`. Sites must be visited in the order of the forward pass: the pass waits there
        and goes on at the next visit, with the weights that are installed by then. If waiting passes would take too
        much memory, each visit is a pass of its own, with equal values.
        """
        if not self._can_wait():
            end = ending_at(self._module.get_submodule(linear))
            with watching(self._module, self._points) as values, end, suppress(End):
                self.forward(batch)
            return values
        if self._passes is None:
            seen = partial(watching, self._module, self._points)
            run = partial(self._stream(dense=False).run, self._module, self.index)
            self._passes = Passes(self._module, run, len(self.batches), seen)
        order = [name for site in self.sites for name in site.linears]
        self._ahead = {f"{name}.weight" for name in order[order.index(linear) :]}
        return self._passes.until(batch, linear)

    def _can_wait(self) -> bool:
        """Whether the values that waiting passes hold fit into the memory that they may take."""
        states = self._stream(dense=False).hidden[0]
        out, width = self._module.get_parameter(f"{self.ffn.down}.weight").shape
        return self.tokens * (3 * out + 3 * width) * states.dtype.itemsize <= WAITING * GIB

    @torch.no_grad()
    def collect(self, sites: Collection[str], needs: Collection[Stat]) -> dict[str, SiteStatistic]:
        """Collect the statistics of `sites` with the current weights, in one pass over the calibration tokens.

        Without any `needs` nothing runs, and the statistics are empty.
        """
        chosen = [site for site in self.sites if site.name in sites]
        if not needs:
            return {site.name: SiteStatistic() for site in chosen}
        last = self._module.get_submodule(chosen[-1].linears[0])
        counted = self._stream(dense=False).counted
        with Accumulator(self._module, chosen, needs, counted) as accumulator, ending_at(last):
            for batch in self.batches:
                with suppress(End):
                    self.forward(batch)
        return accumulator.statistics

    def statistics(self, needs: Collection[Stat], sites: Collection[str] = ()) -> Statistics:
        """Statistics that are collected at once for `sites`, and for other sites when they are first read.

        To collect them raises CellFailure, which names the linears, if a number is not finite.
        """
        return Statistics(lambda names: self._finite(self.collect(names, needs)), sites)

    def _finite(self, statistics: dict[str, SiteStatistic]) -> dict[str, SiteStatistic]:
        for site in self.sites:
            if site.name in statistics:
                check_statistic(statistics[site.name], [self.full_names[linear] for linear in site.linears])
        return statistics

    @property
    def _recorded(self) -> DenseRecord:
        if self._record is None:
            raise PluginMistake("the method looks at the dense model without declaring `dense_stream = True`")
        return self._record

    def _stream(self, dense: bool) -> Activations:
        stream = self._dense if dense else self._activations
        if stream is None:
            missing = "`dense_stream = True`" if dense else "the axis 'calibration' in `uses`"
            raise PluginMistake(f"the method looks at activations without declaring {missing}")
        return stream
