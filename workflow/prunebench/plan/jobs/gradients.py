"""The jobs that sum gradients of the dense model's loss, which all methods that read gradients share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from prunebench.config.entries import Compute
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec


class ByWindow(Compute):
    """Compute settings of a stage that takes one window at a time, so that its spec has no batch size."""

    batch_size: int = Field(1, exclude=True)


class GradientsSpec(Spec):
    """Everything that decides the gradients of a model."""

    model: str
    family: str
    storage: str
    """The dtype of the stored weights."""
    tokens: str
    compute: ByWindow


class Gradients(Job):
    """Sum the gradients of the loss over the calibration tokens."""

    rule = "gradients"
    subject_pattern = paths.DRAW
    writes: ClassVar = {"gradients": paths.GRADIENTS, "measured": paths.GRADIENTS_MEASURED}
    runs_model = True
    own_cost = True

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The model and the calibration tokens."""
        return {
            "model": self.plan.job("fetch_model", **self.wildcards).output(),
            "tokens": self.plan.job("calibrate", **self.wildcards).output(),
        }

    def _spec(self) -> str:
        entry = self.config.models[self.wildcards["model"]]
        return GradientsSpec(
            code=self.code(family=f"models.{entry.family}"),
            model=self.hash_of("model"),
            family=entry.family,
            storage=entry.dtype,
            tokens=self.hash_of("tokens"),
            compute=ByWindow(**self.compute.model_dump()),
        ).text

    @property
    def compute(self) -> Compute:
        """The compute settings of the config."""
        return self.config.compute
