"""The parameters of BESA that say how it learns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from prunebench.plugin import Parameters


class Learning(Parameters):
    """The parameters that the method `besa` and the allocator `besa` have in common."""

    steps: PositiveInt = Field(128, description="optimiser steps per block, each on one calibration sample")
    candidates: PositiveInt = Field(100, description="candidate sparsities are multiples of 1 / candidates")
    sigmoid: bool = Field(
        True, description="beta = softmax(sigmoid(theta)); false: softmax(theta), which has no bounds and may diverge"
    )
    start: Literal["budget", "half"] = Field(
        "budget", description="the sparsity at which learning starts; half: 0.5, whatever the budget"
    )
    d_coef: PositiveFloat = Field(5.0, description="Prodigy's factor on the step length that it finds")
    sparsity_beta: PositiveFloat = Field(5.0, description="weight of the penalty that holds the block's sparsity")
