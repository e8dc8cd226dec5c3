"""How fast models read a prompt and write tokens, measured in turn in one process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import psutil
import torch
from torch import Tensor

from prunebench.engine.cached import cache_name, cache_of
from prunebench.engine.placement.device import wait_for
from prunebench.runtime.progress import track


@dataclass(frozen=True)
class Clock:
    """Seconds on the wall, and seconds of CPU of all threads: these count no waiting for other programs."""

    wall: float
    cpu: float

    def __sub__(self, other: Clock) -> Clock:
        return Clock(self.wall - other.wall, self.cpu - other.cpu)

    @classmethod
    def now(cls) -> Clock:
        """The time now."""
        return cls(time.perf_counter(), time.process_time())


class Others:
    """The work of other programs on this machine from the creation of the object on."""

    def __init__(self) -> None:
        self._start = self._now()

    def cpus(self) -> float:
        """The mean number of CPUs that other programs have used, by the system's ticks of a hundredth of a second."""
        wall, busy, own = (now - before for now, before in zip(self._now(), self._start, strict=True))
        return max(0.0, (busy - own) / wall)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        # Not what a hypervisor took for itself (steal): nobody here can stop that.
        busy = times.user + times.system + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq"))
        return time.perf_counter(), busy, time.process_time()


@dataclass(frozen=True)
class Speed:
    """The medians over all passes of one model at one batch size."""

    first: Clock
    """Until the first token is there, which is the time of the prompt."""
    token: Clock
    """For each token after the first, of all sequences together."""
    batch: int
    prompt: int
    """The number of tokens of each prompt."""

    @property
    def prefill(self) -> float:
        """Tokens of prompts per second on the wall."""
        return self.batch * self.prompt / self.first.wall

    @property
    def decode(self) -> float:
        """Tokens written per second on the wall."""
        return self.batch / self.token.wall


def in_turn(models: Mapping[str, Any], *, batch: int, prompt: int, tokens: int, repeats: int) -> dict[str, Speed]:
    """Measure each of `models` (transformers models by name) in turn, `repeats` times, after one pass that warms up.

    A pass reads `batch` random prompts of `prompt` tokens each and writes `tokens` more, always the likeliest.
    """
    vocabulary = min(int(model.get_input_embeddings().num_embeddings) for model in models.values())
    source = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, vocabulary, (batch, prompt), generator=source)
    first: dict[str, list[Clock]] = {name: [] for name in models}
    later: dict[str, list[Clock]] = {name: [] for name in models}
    for turn in track(range(repeats + 1), "pass"):
        for name, model in models.items():
            beginning, rest = _one_pass(model, prompts, tokens if turn else 2)
            if turn:
                first[name].append(beginning)
                later[name] += rest
    return {name: Speed(_median(first[name]), _median(later[name]), batch, prompt) for name in models}


@torch.no_grad()
def _one_pass(model: Any, prompts: Tensor, tokens: int) -> tuple[Clock, list[Clock]]:
    device = model.get_input_embeddings().weight.device
    # One row of logits: those of a whole prompt would take longer than all else for a small model.
    options: dict[str, Any] = {"use_cache": True}
    if "logits_to_keep" in signature(model.forward).parameters:
        options["logits_to_keep"] = 1
    prompts, kept = prompts.to(device), cache_name(model)
    wait_for(device)
    start = Clock.now()
    output = model(input_ids=prompts, **options)
    wait_for(device)
    begun = Clock.now()
    clocks, before = [], begun
    for _ in range(tokens - 1):
        following = output.logits[:, -1:].argmax(dim=-1)
        output = model(input_ids=following, **{kept: cache_of(output)}, **options)
        wait_for(device)
        now = Clock.now()
        clocks.append(now - before)
        before = now
    return begun - start, clocks


def _median(clocks: list[Clock]) -> Clock:
    if not clocks:  # a pass of one token has none after the first
        return Clock(math.nan, math.nan)
    return Clock(statistics.median(c.wall for c in clocks), statistics.median(c.cpu for c in clocks))
