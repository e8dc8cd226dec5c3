"""The function `prunebench.evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from prunebench.errors import PrunebenchError
from prunebench.standalone.api.calling import Device, Progress, called, settings
from prunebench.standalone.api.inputs import Model, check_model, placed
from prunebench.standalone.arguments import check_arguments, is_path
from prunebench.standalone.evaluation import evaluation
from prunebench.standalone.measure import load
from prunebench.standalone.records import honest, make_folder, write
from prunebench.storage.files import named_destination
from prunebench.suites.base import Score


def evaluate(
    model: Model,
    suite: str | None = None,
    *,
    tasks: Sequence[str] | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    samples: bool = False,
    tokenizer: Any = None,
    dtype: str | torch.dtype = "bfloat16",
    batch_size: int = 8,
    threads: int | None = None,
    device: Device = None,
    progress: Progress = None,
) -> list[Score]:
    """Evaluate `model` on `suite`, a name of the catalog, by default zeroshot7 with its seven zero-shot tasks.

    `tasks` are some tasks of the suite; without a suite, tasks of any suite (boolq, mmlu). `limit` rows of each task,
    drawn by a fixed seed, count (default: all). A model in memory needs its `tokenizer`. With `out` the scores are also
    written to that directory: as CSV, in lm-eval's layout, and by the schema of Every Eval Ever; with `samples` each
    row too, as lm-eval writes it.

    Returns a score for each task and metric, with its standard error and number of rows, and the mean accuracy over the
    tasks of a suite. `details["interval"]` of an accuracy is its 95% interval by Wilson's score; an accuracy of 0 or 1
    has no standard error. Raises PrunebenchError for unknown names, and if the model does not work (NaN).
    """
    least = {"limit": 2, "batch_size": 1, "threads": 1}
    check_arguments(
        least, {"limit": limit, "batch_size": batch_size, "threads": threads, "tasks": tasks, "dtype": dtype}
    )
    if suite is not None:
        check_arguments({}, {"suite": suite})
    check_arguments({}, {"samples": samples})
    if samples and out is None:
        raise PrunebenchError("'samples' are written to files: name a directory by 'out', too")
    if out is not None and not is_path(out):
        raise PrunebenchError("'out' is no path: give the name of a directory")
    if out is not None:
        named_destination(out, "'out'")
    check_model(model, tokenizer)
    with called(device, progress), placed(model, tokenizer) as place:
        compute = settings(dtype, batch_size, threads)
        chosen = evaluation(suite, tasks or (), limit, compute)
        place.require_tokenizer()
        place.save()
        if out is not None:
            make_folder(Path(out), "'out'")
        evaluated = chosen.run(load(place.name, compute), record=out is not None, samples=samples)
        if out is not None:
            write(evaluated, Path(out))
    return [honest(score) for score in evaluated.scores]
