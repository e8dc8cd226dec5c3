"""The jobs that sum the gradients of the dense model's loss. All methods that read gradients share the result."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from prunebench.config.entries import Shape
from prunebench.config.values import Compute
from prunebench.plan import paths
from prunebench.plan.jobs.profile import OnTokensSpec, Profile
from prunebench.plan.sizes import parameters


class ByWindow(Compute):
    """Settings of a stage that takes one window at a time, whatever the batch size is."""

    batch_size: int = Field(1, exclude=True)


class GradientsSpec(OnTokensSpec):
    """Everything that decides the gradients of a model."""

    compute: ByWindow


class Gradients(Profile):
    """Sum the gradients of the loss over the calibration tokens. It needs what the profile needs."""

    rule = "gradients"
    writes: ClassVar = {"gradients": paths.GRADIENTS, "measured": paths.GRADIENTS_MEASURED}
    passes = 3

    def _spec(self) -> str:
        return GradientsSpec(**self._shared(), compute=ByWindow(**self.compute.model_dump())).text

    def bytes(self, shape: Shape) -> int:
        """The bytes of the weights, of the sums of squares in float32, and of the activations of a window."""
        return 8 * parameters(shape)
