"""The jobs that decide how sparse each linear is to be. Methods with the same allocator share the result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from prunebench.config.entries import Shape
from prunebench.config.values import Compute, is_none
from prunebench.plan import paths
from prunebench.plan.grid import allocator_of, reads_profile, runs_model, search_used
from prunebench.plan.jobs.base import Job, Need, Spec
from prunebench.plan.sizes import pruning_bytes


class AllocateSpec(Spec):
    """Everything that decides the sparsity of each linear."""

    model: str
    family: str
    allocator: str
    params: dict[str, Any]
    layers: str
    pattern: str
    sparsity: str
    seed: int
    storage: str
    """The dtype of the stored weights."""
    profile: str | None
    search: str | None = Field(None, exclude_if=is_none)
    tokens: str | None = Field(None, exclude_if=is_none)
    """Set, like `compute`, if the allocator runs the model on the calibration tokens."""
    compute: Compute | None = Field(None, exclude_if=is_none)


class Allocate(Job):
    """Decide how sparse each linear is to be.

    The wildcards name a point in the form of `grid.allocation_form`.
    """

    rule = "allocate"
    subject_pattern = "{model}/{allocator}/{point}/{calibration}-seed{seed}"
    writes: ClassVar = {"allocation": paths.ALLOCATION, "measured": paths.ALLOCATION_MEASURED}
    passes = 10  # an allocator that learns makes about as many epochs
    own_cost = True

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The model, and the input of the allocator: a profile, the result of a search, or the calibration tokens."""
        config, point = self.config, self.cell
        search = search_used(config, point)
        calibrated = {name: value for name, value in self.wildcards.items() if name != "allocator"}
        profile = self.plan.job("profile", **calibrated).output() if reads_profile(config, point) else None
        tokens = self.plan.job("calibrate", **calibrated).output() if runs_model(config, point) else None
        return {
            "model": self.plan.job("fetch_model", **self.wildcards).output(),
            "profile": profile,
            "search": self.plan.search(search).output() if search else None,
            "tokens": tokens,
        }

    def _spec(self) -> str:
        config, point = self.config, self.cell
        entry, model = config.allocators[point.allocator], config.models[point.model]
        allocator = allocator_of(config, point)
        return AllocateSpec(
            code=self.code(allocator=allocator.name, family=model.family),
            model=self.hash_of("model"),
            family=model.family,
            allocator=allocator.name,
            params=allocator.params.model_dump(mode="json"),
            layers=entry.layers,
            pattern=point.pattern,
            sparsity=point.sparsity,
            seed=point.seed,
            storage=model.dtype,
            profile=self.hash_of("profile"),
            search=self.hash_of("search"),
            tokens=self.hash_of("tokens"),
            compute=self.compute,
        ).text

    @property
    def gpu(self) -> bool:
        """Whether the allocator runs the model."""
        return runs_model(self.config, self.cell)

    @property
    def compute(self) -> Compute | None:
        """The compute settings of the config if the allocator runs the model, else None."""
        return self.config.compute if self.gpu else None

    def bytes(self, shape: Shape) -> int:
        """The bytes of pruning, because an allocator that runs the model may prune blocks."""
        return pruning_bytes(shape, self.tokens)
