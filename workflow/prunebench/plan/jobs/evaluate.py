"""The jobs that evaluate one suite on one cell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.config.entries import Shape
from prunebench.config.schema import configured
from prunebench.config.values import Compute
from prunebench.plan import paths
from prunebench.plan.jobs.base import STEPS, Job, Need, Output, Spec
from prunebench.plan.sizes import parameters
from prunebench.runtime.provenance import version

if TYPE_CHECKING:
    from prunebench.suites.workloads import Workload


class EvaluateSpec(Spec):
    """Everything that decides the scores of a suite on a cell."""

    prune: str
    family: str
    storage: str
    """The dtype of the stored weights."""
    suite: str
    params: dict[str, Any]
    assets: dict[str, str]
    """The assets that the suite reads: hashes of specs by name."""
    versions: dict[str, str | None]
    """Versions of the libraries whose releases move the scores."""
    compute: Compute


class Evaluate(Job):
    """Evaluate one suite on one cell, and print its headline number."""

    rule = "evaluate"
    subject_pattern = f"{paths.CELL}/{{suite}}"
    writes: ClassVar = {"result": paths.EVALUATION, "measured": paths.EVALUATION_MEASURED}
    runs_model = True

    @cached_property
    def suite(self) -> Any:
        """The suite with its parameters."""
        return configured("suites", self.config.suites[self.wildcards["suite"]])

    @cached_property
    def workload(self) -> Workload:
        """The work that the suite asks of the model."""
        work: Workload = self.suite.workload(self.config)
        return work

    @property
    def pruning(self) -> Job:
        """The job that prunes the cell."""
        return self.plan.job("prune", **self.wildcards)

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The pruned cell, its model, and the assets that the suite reads."""
        return {
            "model": self.plan.job("fetch_model", **self.wildcards).output(),
            "pruned": self.pruning.output("result"),
            "weights": self.pruning.output("weights"),
            "assets": self.assets(self.suite.assets),
        }

    @property
    def recorded(self) -> Mapping[str, Output]:
        """The files that the pruned cell was made from, and the assets that the suite reads."""
        return {**self.pruning.recorded, **{asset.job.asset: asset for asset in self.assets(self.suite.assets)}}

    def _spec(self) -> str:
        model = self.config.models[self.wildcards["model"]]
        return EvaluateSpec(
            code=self.code(suite=self.suite.name, family=model.family),
            prune=self.pruning.spec_hash,
            family=model.family,
            storage=model.dtype,
            suite=self.suite.name,
            params=self.suite.params.model_dump(mode="json"),
            assets={asset.job.asset: asset.job.spec_hash for asset in self.assets(self.suite.assets)},
            versions={library: version(library) for library in self.suite.libraries},
            compute=self.compute,
        ).text

    @property
    def compute(self) -> Compute:
        """The compute settings of the suite, or else of the config."""
        return self.config.suites[self.wildcards["suite"]].compute or self.config.compute

    @property
    def alone(self) -> bool:
        """Whether the suite measures time."""
        return bool(self.suite.alone)

    @property
    def forward_tokens(self) -> int:
        """An upper bound of the tokens that the suite reads and writes."""
        return self.workload.excess * (self.workload.tokens + STEPS * self.workload.generated)

    def bytes(self, shape: Shape) -> int:
        """The bytes of a pass, and of the file of weights, which the kernel may count as memory of the job."""
        return super().bytes(shape) + 2 * self.workload.models * parameters(shape)
