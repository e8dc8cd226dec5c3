"""The jobs that record statistics of a model's inputs. All allocators that look at data share the result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from prunebench.config.values import Compute
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec


class OnTokensSpec(Spec):
    """Everything that decides the numbers of a pass of the dense model over the calibration tokens."""

    model: str
    family: str
    storage: str
    """The dtype of the stored weights."""
    tokens: str


class ProfileSpec(OnTokensSpec):
    """Everything that decides the profile of a model."""

    compute: Compute


class Profile(Job):
    """Record the statistics of the inputs of every linear of the dense model."""

    rule = "profile"
    subject_pattern = paths.DRAW
    writes: ClassVar = {"profile": paths.PROFILE, "measured": paths.PROFILE_MEASURED}
    passes = 1
    runs_model = True
    own_cost = True

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The model and the calibration tokens."""
        return {name: self.plan.job(rule, **self.wildcards).output() for name, rule in READ.items()}

    def _spec(self) -> str:
        return ProfileSpec(**self._shared(), compute=self.compute).text

    def _shared(self) -> dict[str, Any]:
        entry = self.config.models[self.model]
        hashes = {name: self.hash_of(name) for name in READ}
        code = self.code(family=entry.family)
        return {"code": code, "family": entry.family, "storage": entry.dtype, **hashes}

    @property
    def compute(self) -> Compute:
        """The compute settings of the config."""
        return self.config.compute


READ = {"model": "fetch_model", "tokens": "calibrate"}
"""The rules that make the inputs of the job, by the name of the input."""
