"""The function `prunebench.evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from prunebench.standalone.api.calling import Device, Progress, called, settings
from prunebench.standalone.api.inputs import Model, check_model, placed
from prunebench.standalone.arguments import check_arguments
from prunebench.standalone.evaluation import evaluation
from prunebench.standalone.measure import load
from prunebench.suites.base import Score


def evaluate(
    model: Model,
    suite: str | None = None,
    *,
    tasks: Sequence[str] | None = None,
    limit: int | None = None,
    tokenizer: Any = None,
    dtype: str | torch.dtype = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
    device: Device = None,
    progress: Progress = None,
) -> list[Score]:
    """Evaluate `model` on `suite`, a name of the catalog, by default zeroshot7 with its seven zero-shot tasks.

    `tasks` are some tasks of the suite; without a suite, tasks of any suite (boolq, mmlu). `limit` rows of each task,
    drawn by a fixed seed, count (default: all). A model in memory needs its `tokenizer`.

    Returns a score for each task and metric, with its standard error and number of rows, and the mean accuracy over the
    tasks of a suite. Raises PrunebenchError for unknown names, and if the model does not work (NaN).
    """
    least = {"limit": 2, "batch_size": 1, "threads": 1}
    check_arguments(
        least, {"limit": limit, "batch_size": batch_size, "threads": threads, "tasks": tasks, "dtype": dtype}
    )
    if suite is not None:
        check_arguments({}, {"suite": suite})
    check_model(model, tokenizer)
    with called(device, progress), placed(model, tokenizer) as place:
        compute = settings(dtype, batch_size, threads)
        chosen = evaluation(suite, tasks or (), limit, compute)
        place.require_tokenizer()
        place.save()
        return chosen.run(load(place.name, compute))
