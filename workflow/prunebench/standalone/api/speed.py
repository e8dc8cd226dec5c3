"""The function `prunebench.speed`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prunebench.errors import PrunebenchError
from prunebench.standalone.api.calling import Device, Progress, called, settings
from prunebench.standalone.api.inputs import Model, check_model, placed, refuse_packed
from prunebench.standalone.arguments import check_arguments
from prunebench.standalone.speed import protocol, speed_of
from prunebench.suites.base import Score


def speed(
    model: Model,
    against: Model | None = None,
    *,
    prompt: int = 512,
    tokens: int = 32,
    batches: Sequence[int] = (1,),
    repeats: int = 5,
    bits: int | None = None,
    group: int | None = None,
    dtype: str | torch.dtype = "bfloat16",
    threads: int | None = None,
    device: Device = None,
    progress: Progress = None,
) -> list[Score]:
    """Measure how fast `model` reads and writes: by PyTorch with zeros in place, and packed, in turn.

    `against` is a dense model that takes turns with it. Each of `repeats` passes reads a prompt of `prompt` tokens and
    writes `tokens` tokens, for each number of sequences in `batches`. A model that is not packed yet is packed for the
    measurement, as `bits` and `group` say.

    In the scores, `task` is the form (dense, zeros_in_place, dense_kernel, packed) and `metric` is prefill_B (tokens of
    prompts per second at batch B), first_B (seconds to the first token), decode_B (tokens written per second), disk
    (MB), load (seconds) or peak (MB of memory of a fresh process). Raises PrunebenchError for a model that cannot be
    loaded.
    """
    least = {"prompt": 1, "tokens": 2, "repeats": 1, "threads": 1, "bits": 1, "group": 1}
    counts = {"prompt": prompt, "tokens": tokens, "repeats": repeats, "threads": threads}
    counts |= {"bits": bits, "group": group}
    check_arguments(least, {**counts, "dtype": dtype})
    if isinstance(batches, str) or not isinstance(batches, Sequence) or not batches:
        raise PrunebenchError("'batches': give a list of whole numbers")
    check_arguments(
        {f"batches[{n}]": 1 for n in range(len(batches))}, {f"batches[{n}]": b for n, b in enumerate(batches)}
    )
    named: dict[str, Model] = {"model": model, **({} if against is None else {"against": against})}
    for name, given in named.items():
        check_model(given, None, name)
        refuse_packed(given, name)
    with called(device, progress), placed(model) as place:
        chosen = protocol(prompt, tokens, batches, repeats, bits, group)
        compute = settings(dtype, 1, threads)
        if against is None:
            place.save()
            return speed_of(place.name, None, chosen, compute)
        with placed(against) as other:
            place.save()
            other.save()
            return speed_of(place.name, other.name, chosen, compute)
