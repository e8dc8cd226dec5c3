"""The speeds of the machine that a plan is for. The rates of the CPU were measured; the rates of cards are assumed.

This module imports no torch: `prunebench plan` asks nvidia-smi for the GPU, and only where there is one.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prunebench.errors import PrunebenchError
from prunebench.registry import did_you_mean
from prunebench.runtime import gpus

GIB = 2**30
TERA = 1e12


@dataclass(frozen=True)
class Device:
    """The speeds and the memory of a machine."""

    title: str
    rates: Mapping[str, float]
    """Operations per second that matrix products reach, by dtype."""
    read: float
    """Bytes of weights per second on their way from files to where they are multiplied."""
    memory: float | None = None
    """Bytes of one card; None if everything is in the host's memory."""
    slower: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """How many times as long as its counted products a job took, by (kind of work, dtype)."""
    source: str = "assumed"

    def overhead(self, counted: str, dtype: str) -> float:
        """Find how many times as long as its products a job takes; 1 where nothing is known."""
        return self.slower.get((counted, dtype), 1.0)

    def changed(self, tflops: Mapping[str, float], memory: float | None) -> "Device":
        """Replace some rates (tera-operations per second, by dtype) and the memory of a card (GiB).

        Raises PrunebenchError for an unknown dtype, for memory that is no number above 0, and for memory if there is no
        card.
        """
        if memory is not None and not 0 < memory < math.inf:
            raise PrunebenchError(f"--memory: the memory of a card must be a number above 0, not {memory:g}")
        for dtype in tflops:
            if dtype not in self.rates:
                raise PrunebenchError(f"unknown dtype {dtype!r}{did_you_mean(dtype, self.rates)}")
        if memory is not None and self.memory is None:
            raise PrunebenchError(
                f"{self.title} has no memory of its own: leave out --memory, or name a card with --device"
            )
        rates = {**self.rates, **{dtype: rate * TERA for dtype, rate in tflops.items()}}
        if memory is None:
            return replace(self, rates=rates)
        return replace(self, rates=rates, memory=memory * GIB, title=f"{self.title}, taken for one of {memory:g} GiB")


# These numbers are from docs/performance.json, and a test compares them: the rates of products, and over_floor of the
# cases with 64 windows. The CPU has no units for float16, which is multiplied as float32.
_CPU = {"bfloat16": 1.089e12, "float16": 0.1182e12, "float32": 0.1182e12, "float64": 0.0607e12}
_MEASURED = {
    ("wanda", "bfloat16"): 6.593,
    ("wanda", "float32"): 1.889,
    ("sparsegpt", "bfloat16"): 5.416,
    ("sparsegpt", "float32"): 2.726,
    ("sparsellm", "bfloat16"): 5.114,
    ("sparsellm", "float32"): 2.165,
    ("perplexity", "bfloat16"): 6.918,
    ("perplexity", "float32"): 2.494,
    ("zeroshot", "bfloat16"): 14.035,
    ("zeroshot", "float32"): 4.498,
}
_CPU_SLOWER = _MEASURED | {(kind, "float16"): times for (kind, dtype), times in _MEASURED.items() if dtype == "float32"}

DEVICES: dict[str, Device] = {
    # The rates are about 45% of those in the makers' data sheets for dense products, and less in float64, whose
    # factorisations and sweeps are in part sequential. TF32 is not used.
    "a100": Device(
        "one A100 80 GB",
        {"bfloat16": 140e12, "float16": 140e12, "float32": 14e12, "float64": 8e12},
        read=4e9,
        memory=79 * GIB,
        source="assumed: not measured on a card",
    ),
    "h100": Device(
        "one H100 80 GB",
        {"bfloat16": 400e12, "float16": 400e12, "float32": 40e12, "float64": 25e12},
        read=6e9,
        memory=79 * GIB,
        source="assumed: not measured on a card",
    ),
    "cpu": Device(
        "one core of the machine of docs/performance.md",
        _CPU,
        read=2e9,
        slower=_CPU_SLOWER,
        source="measured: docs/performance.md",
    ),
}

FASTER = ("H100", "H200", "GH200", "H800", "H20", "B100", "B200", "GB200", "B300", "GB300")
"""The words in the names of GPUs that are nearer to an H100 than to an A100."""


def this_machine() -> Device:
    """Describe the machine of this process: its first GPU with the rates of the nearest device, or its CPU."""
    others = f"--device plans for another machine ({', '.join(DEVICES)})"
    if not gpus.gpus_here():
        source = f"measured on one core of another machine (docs/performance.md); {others}"
        return replace(DEVICES["cpu"], title="this machine's CPU, one core", source=source)
    gpu, memory = gpus.first_gpu() or ("GPU", None)
    words = re.split(r"\W+", gpu.upper())
    nearest = DEVICES["h100" if any(word in FASTER for word in words) else "a100"]
    source = f"of {nearest.title}, assumed and not measured on a card; {others}"
    return replace(nearest, title=f"this machine's {gpu}", memory=memory or nearest.memory, source=source)


def parse_rates(texts: Sequence[str]) -> dict[str, float]:
    """Parse texts such as float16=90 as {dtype: TFLOP/s}. Raises PrunebenchError for any other text."""
    rates = {}
    for text in texts:
        dtype, _, rate = text.partition("=")
        try:
            rates[dtype] = float(rate)
        except ValueError:
            raise PrunebenchError(f"a rate is written dtype=number, as in float16=90, not {text!r}") from None
        if not 0 < rates[dtype] < math.inf:
            raise PrunebenchError(f"a rate must be a number above 0, not {text!r}")
    return rates


def device(name: str) -> Device:
    """Find the device called `name`. Raises PrunebenchError with the nearest name if there is none."""
    if name not in DEVICES:
        raise PrunebenchError(f"unknown device {name!r}{did_you_mean(name, DEVICES)}")
    return DEVICES[name]
