"""Statistics of the activations of sites, summed in float64 whatever the dtype of the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunebench.engine.placement.device import own_memory
from prunebench.engine.products import factor, product
from prunebench.engine.stat import Stat
from prunebench.errors import PluginMistake, PrunebenchError
from prunebench.formulas.obs import mirror
from prunebench.models.base import Site

STRIPS, STRIP = 8, 192
"""The number of strips of a symmetric product, and their least width: more or narrower ones save little."""
ROWS = 128
"""The number of tokens whose squares a processor sums at a time: they stay in its cache."""
SQUARES = 2**23
"""The most squares, in float64, that an accelerator computes at a time: 64 MiB, beside which launches cost little."""
SAMPLE = 256
"""The greatest number of tokens kept of each site, all from the first batch."""


@dataclass
class SiteStatistic:
    """The statistics of the calibration tokens at one site; only those in the method's `needs` are there."""

    tokens: int = 0
    sample: Tensor | None = None
    """A few of the inputs [n, in], for the error of a pruned linear's outputs."""
    _squared_norm: Tensor | None = None
    _hessian: Tensor | None = None
    """The lower triangle of the Gram matrix; numbers above the diagonal mean nothing."""

    @classmethod
    def of_gram(cls, gram: Tensor, tokens: int) -> SiteStatistic:
        """The statistics of `tokens` inputs, from the lower triangle of their Gram matrix [in, in]."""
        return cls(tokens, _squared_norm=gram.diagonal(), _hessian=gram)

    @property
    def squared_norm(self) -> Tensor:
        """||x_j||_2^2 over all tokens, float64 [in]. Raises PluginMistake if it was not declared."""
        if self._squared_norm is None:
            raise PluginMistake("the method reads squared_norm without declaring Stat.SITE_NORM in `needs`")
        return self._squared_norm

    @property
    def is_finite(self) -> bool:
        """Whether no number that was collected is NaN or infinite."""
        sums = (self._squared_norm, None if self._hessian is None else self._hessian.diagonal())
        return all(numbers is None or bool(numbers.isfinite().all()) for numbers in sums)

    @property
    def hessian(self) -> Tensor:
        """X^T X over all tokens, float64 [in, in], a new tensor each time. PluginMistake if it was not declared."""
        return mirror(self.hessian_triangle.clone())

    @property
    def hessian_triangle(self) -> Tensor:
        """The lower triangle of `hessian`, float64 [in, in], without a copy: it must not be written to.

        Numbers above the diagonal mean nothing. Raises PluginMistake as `hessian` does.
        """
        if self._hessian is None:
            raise PluginMistake("the method reads hessian without declaring Stat.HESSIAN in `needs`")
        return self._hessian

    def add(self, inputs: Tensor, needs: Collection[Stat]) -> None:
        """Add a chunk of inputs [..., in] to the statistics in `needs`."""
        x = inputs.detach().flatten(0, -2)
        self.tokens += len(x)
        if self.sample is None:
            # The step is odd, so that the first tokens of windows, which are extreme, are not taken more often.
            self.sample = x[:: -(-len(x) // SAMPLE) | 1].clone()
        if Stat.SITE_NORM in needs:
            if self._squared_norm is None:
                self._squared_norm = x.new_zeros(x.shape[1], dtype=torch.float64)
            # Squares are exact in float64: only the sum rounds.
            for rows in x.split(rows_at_a_time(x.shape[1], x.device)):
                self._squared_norm += rows.double().square_().sum(dim=0)
        if Stat.HESSIAN in needs:
            if self._hessian is None:
                self._hessian = x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float64)
            add_gram(self._hessian, x)


def rows_at_a_time(width: int, device: torch.device) -> int:
    """The number of rows [width] whose squares are summed at a time: each part is a few calls of an accelerator."""
    return max(1, SQUARES // width) if own_memory(device) else ROWS


def add_gram(total: Tensor, x: Tensor) -> None:
    """Add the lower triangle of X^T X, summed in float32, to `total` [in, in] for inputs `x` [n, in].

    Numbers above the diagonal of `total` change too, and mean nothing.
    """
    # All strips share one copy.
    shared = factor(x)
    width = x.shape[1]
    strip = max(STRIP, -(-width // STRIPS))
    for low in range(0, width, strip):
        total[low:, low : low + strip] += product(shared[:, low:].T, shared[:, low : low + strip], x.dtype)


class Statistics:
    """The statistics of a block's sites, by site name.

    Those of `sites` are collected at once. Those of another site are collected when they are first read, with the
    weights that are installed by then (true-sequential order).
    """

    def __init__(
        self, collect: Callable[[Collection[str]], dict[str, SiteStatistic]], sites: Iterable[str] = ()
    ) -> None:
        self._collect = collect
        self._known = collect(list(sites)) if sites else {}
        self._samples: dict[str, Tensor | None] = {}

    def __getitem__(self, site: str) -> SiteStatistic:
        if site not in self._known:
            self._known |= self._collect([site])
        return self._known[site]

    def take(self, site: str) -> SiteStatistic:
        """Give the statistics of a site away, so that the taker can free them; the sample stays.

        They are collected again if they are read again.
        """
        statistic = self[site]
        self._samples[site] = self._known.pop(site).sample
        return statistic

    def sample(self, site: str) -> Tensor | None:
        """A few inputs [n, in] of a site, or None if its statistics have not been collected."""
        return self._known[site].sample if site in self._known else self._samples.get(site)


class Accumulator:
    """A context manager with hooks on the first linear of each site that feed the site's SiteStatistic."""

    def __init__(
        self, module: nn.Module, sites: Iterable[Site], needs: Collection[Stat], counted: Callable[[], Tensor | None]
    ) -> None:
        """`counted` gives the tokens of the running batch that count, bool [batch, seqlen]; None stands for all."""
        self.statistics = {site.name: SiteStatistic() for site in sites}
        self._targets = {site.name: module.get_submodule(site.linears[0]) for site in sites}
        self._needs, self._counted = needs, counted

    def __enter__(self) -> Accumulator:
        self._handles = [
            target.register_forward_pre_hook(self._hook(self.statistics[name]))
            for name, target in self._targets.items()
        ]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        unused = [name for name, statistic in self.statistics.items() if not statistic.tokens]
        if unused and kind is None:
            raise PrunebenchError(
                f"blocks of this model do not call the linears of {unused[0]}, but compute with their weights in "
                "another way: this variant of the architecture is not known"
            )

    def _hook(self, statistic: SiteStatistic) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            counted = self._counted()
            statistic.add(inputs[0] if counted is None else inputs[0][counted], self._needs)

        return add
