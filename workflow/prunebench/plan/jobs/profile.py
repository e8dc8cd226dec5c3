"""The jobs that make the profile of a model, which all allocators that read data share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from prunebench.config.entries import Compute
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec


class ProfileSpec(Spec):
    """Everything that decides the profile of a model."""

    model: str
    family: str
    storage: str
    """The dtype of the stored weights."""
    tokens: str
    compute: Compute


class Profile(Job):
    """Record the statistics of the inputs of every linear of the dense model."""

    rule = "profile"
    subject_pattern = paths.DRAW
    writes: ClassVar = {"profile": paths.PROFILE, "measured": paths.PROFILE_MEASURED}
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
        return ProfileSpec(
            code=self.code(family=f"models.{entry.family}"),
            model=self.hash_of("model"),
            family=entry.family,
            storage=entry.dtype,
            tokens=self.hash_of("tokens"),
            compute=self.compute,
        ).text

    @property
    def compute(self) -> Compute:
        """The compute settings of the config."""
        return self.config.compute
