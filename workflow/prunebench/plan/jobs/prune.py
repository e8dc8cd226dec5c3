"""The jobs that prune a cell, and that keep its masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from prunebench.config.entries import Shape
from prunebench.config.values import Compute, is_none
from prunebench.plan import paths
from prunebench.plan.grid import method_of
from prunebench.plan.jobs.base import Job, Need, Output, Spec
from prunebench.plan.sizes import parameters, pruning_bytes

if TYPE_CHECKING:
    from prunebench.plan.plan import Plan


class PruneSpec(Spec):
    """Everything that decides the weights of a cell."""

    model: str
    family: str
    storage: str
    """The dtype of the stored weights."""
    tokens: str | None
    """Set, like `compute`, only if the method runs the model forward. Otherwise neither can change the result."""
    gradients: str | None = Field(None, exclude_if=is_none)
    allocation: str
    assets: dict[str, str]
    """The hashes of the specs of the assets that the method reads, by the names of the assets."""
    method: str
    params: dict[str, Any]
    pattern: str
    sparsity: str
    seed: int
    compute: Compute | None


class Prune(Job):
    """Prune one cell."""

    rule = "prune"
    subject_pattern = paths.CELL
    writes: ClassVar = {"result": paths.PRUNED, "measured": paths.PRUNE_MEASURED, "weights": paths.WEIGHTS}
    passes = 10  # every method makes two passes, and a method that learns makes one for each epoch
    runs_model = True
    own_cost = True

    @cached_property
    def method(self) -> Any:
        """The method of the cell with its parameters."""
        return method_of(self.config, self.cell)

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The model, the allocation, and the other files that the method reads."""
        calibrated = "calibration" in self.method.uses
        return {
            "model": self.plan.job("fetch_model", **self.wildcards).output(),
            "assets": self.assets(self.method.assets),
            "tokens": self.plan.job("calibrate", **self.wildcards).output() if calibrated else None,
            # The gradients come before the allocation, so that they are not made again after an allocation has failed.
            "gradients": self.plan.job("gradients", **self.wildcards).output() if self.method.needs_gradients else None,
            "allocation": self.plan.allocation(self.cell).output(),
        }

    @property
    def recorded(self) -> Mapping[str, Output]:
        """The inputs of the job, and the files that the allocation was made from."""
        allocation = self.needs["allocation"]
        assert isinstance(allocation, Output)
        files = dict(super().recorded)
        if self.cell.calibrated:
            files["tokens"] = self.plan.job("calibrate", **self.wildcards).output()
        if search := allocation.job.recorded.get("search"):
            files["search"] = search
        return files | {asset.job.asset: asset for asset in self.assets(self.method.assets)}

    def _spec(self) -> str:
        cell, model = self.cell, self.config.models[self.cell.model]
        return PruneSpec(
            code=self.code(method=self.method.name, family=model.family),
            model=self.hash_of("model"),
            family=model.family,
            storage=model.dtype,
            tokens=self.hash_of("tokens"),
            gradients=self.hash_of("gradients"),
            allocation=self.hash_of("allocation"),
            assets={asset.job.asset: asset.job.spec_hash for asset in self.assets(self.method.assets)},
            method=self.method.name,
            params=self.method.params.model_dump(mode="json"),
            pattern=cell.pattern,
            sparsity=cell.sparsity,
            seed=cell.seed,
            compute=self.compute,
        ).text

    @property
    def compute(self) -> Compute | None:
        """The compute settings of the method, or else of the config; None if the method runs nothing forward."""
        settings = self.config.methods[self.cell.method].compute or self.config.compute
        return settings if self.needs["tokens"] else None

    def bytes(self, shape: Shape) -> int:
        """The bytes of a pass, and of the statistics of a block that methods keep."""
        return pruning_bytes(shape, self.tokens)


class KeepMasks(Job):
    """Keep a record of which weights of a cell are zero, for configs that delete the weights themselves."""

    rule = "keep_masks"
    subject_pattern = paths.CELL
    writes: ClassVar = {"masks": paths.MASKS}

    @classmethod
    def wanted(cls, plan: Plan) -> Iterable[Mapping[str, Any]]:
        """The wildcards of all cells if the config keeps masks, or else none."""
        return (cell.wildcards for cell in plan.cells if plan.config.keep_weights == "mask")

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The packed weights of the cell."""
        return {"weights": self.plan.job("prune", **self.wildcards).output("weights")}

    def bytes(self, shape: Shape) -> int:
        """The bytes of a pass, and of the file of weights, which the kernel may count as memory of the job."""
        return super().bytes(shape) + 2 * parameters(shape)
