"""Zero-shot accuracy on tasks of lm-eval."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt

from prunebench.config.values import Slug, TaskName
from prunebench.formulas.wilson import certain, wilson_error
from prunebench.plugin import Parameters
from prunebench.registry import did_you_mean
from prunebench.suites import workloads
from prunebench.suites.base import Score, Suite
from prunebench.suites.metrics import MEAN, Metric
from prunebench.suites.workloads import Workload

if TYPE_CHECKING:
    from prunebench.config.schema import Config
    from prunebench.engine.subject import Subject
    from prunebench.published.values import Published
    from prunebench.storage.resume import Parts

log = logging.getLogger("prunebench")

ACCURACY = Metric("acc", "Accuracy", percent=True, suffix="acc.", published=("acc", "acc_unstated"))
"""The metric of all suites that count right answers."""


class LmEval(Suite):
    """Measure zero-shot accuracy on lm-eval's own tasks, with rows from the catalog, and the mean over the tasks.
    The scores are `acc`, and `acc_norm` where the task has it.

        suites:
          zeroshot: {suite: lm_eval, params: {data: olmo, tasks: [boolq, rte], limit: 500}}

    Where an answer is generated (GSM8K), `acc` counts exact matches by the task's first filter, the strict one. The
    counts by other filters are kept beside it, as `acc_flexible-extract`.

    Prompts, choices and metrics are those of the installed lm-eval, whose version is in the spec. With several tasks
    the plain mean of their `acc` follows, as the papers take it, with its standard error.

    Rows come from a bundle of tasks in `config/catalog/tasks.yaml`, so nothing is asked of a hub. `limit` draws rows
    at random, the same for every cell: the first rows of a data set need not resemble the others. Tasks are evaluated
    one by one on a model that is loaded once, and a killed job resumes with the next task. The whole model must fit
    into memory, unlike for perplexity: on one GPU, or on all visible ones if one has no room for it. At most
    `compute.batch_size` sequences run at a time, or more short ones: as many as have, with padding, the tokens of
    `batch_size` sequences of 128. A log-likelihood or a logit that is not finite fails the evaluation. Requests that
    are longer than the model's context lose their first tokens, as in lm-eval; the log and the details of the scores
    say how many, for each task.
    """

    class Params(Parameters):
        """Parameters of the zero-shot tasks."""

        data: Slug = Field(description="catalog name of a bundle of tasks")
        tasks: list[TaskName] = Field(min_length=1, description="tasks of that bundle")
        limit: int | None = Field(
            None, ge=2, description="evaluate on so many rows of a task (of each subject), drawn by `seed`; default all"
        )
        seed: NonNegativeInt = 0
        """which rows `limit` draws"""
        num_fewshot: NonNegativeInt = Field(0, description="examples in the prompt, chosen by lm-eval")

    name = "lm_eval"
    title = "Zero-shot tasks"
    metrics = (ACCURACY,)
    table = "zeroshot"
    libraries = ("lm_eval",)

    @property
    def assets(self) -> tuple[str, ...]:
        """The bundle of tasks that the rows come from."""
        return (f"tasks/{self.params.data}",)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, and their mean if there are several."""
        return (*self.params.tasks, *([MEAN] if len(self.params.tasks) > 1 else []))

    def mistakes(self, config: Config) -> Iterator[str]:
        """Yield a mistake for each task that the bundle does not have."""
        known = config.tasks[self.params.data].tasks
        for task in self.params.tasks:
            if task not in known:
                yield f"tasks: {self.params.data} has no task {task!r}{did_you_mean(task, known)}"

    def differences(self, value: Published) -> Iterator[str]:
        """Yield differences in how choices are weighed, in the tasks under a mean, in rows and in examples."""
        params = self.params
        if value.metric == "acc_unstated":
            yield "accuracy of which it is not stated whether choices are weighed by length, here they are not"
        if value.task == MEAN and set(value.tasks) != set(params.tasks):
            known = f"over {', '.join(value.tasks)}" if value.tasks else "over tasks not stated"
            yield f"mean {known}, here over {', '.join(params.tasks)}"
        if params.limit:
            yield f"all rows, here {params.limit} of each task"
        if params.num_fewshot:
            yield f"no examples in the prompt, here {params.num_fewshot}"

    def workload(self, config: Config) -> Workload:
        """Estimate the rows of all tasks."""
        return workloads.of_tasks(self.params.tasks, self.params.limit)

    def run(self, subject: Subject, assets: Mapping[str, Path], parts: Parts) -> list[Score]:
        """Evaluate task by task on one model; a killed job resumes with the next task."""
        return self.recorded(subject, assets, parts, record=False)[0]

    def recorded(
        self,
        subject: Subject,
        assets: Mapping[str, Path],
        parts: Parts,
        *,
        record: bool = True,
        samples: bool = False,
    ) -> tuple[list[Score], list[dict[str, Any]]]:
        """Evaluate as `run` does; returns with `record` also what lm-eval reports of each task or subject (JSON).

        With `samples` these reports have a record of each row.
        """
        from prunebench.assets.tasks import load_rows
        from prunebench.runtime.progress import track
        from prunebench.storage.files import read_json
        from prunebench.suites.harness import Harness, counted, stock_task

        directory = assets[f"tasks/{self.params.data}"]
        stock = read_json(directory / "tasks.json")
        model = cache(partial(Harness, subject))
        options = self.params.model_dump(include={"limit", "seed", "num_fewshot"})

        def evaluate(name: str, definition: str, part: tuple[int, int]) -> dict[str, Any]:
            task = stock_task(name, definition, load_rows(directory, name), **options)
            return counted(model(), task, part=part, record=record, samples=samples)

        scores: list[Score] = []
        reports: list[dict[str, Any]] = []
        for task in track(self.params.tasks, "task", label=str):
            subjects = {
                name: parts.get_or(name, partial(evaluate, name, definition, (index, len(stock[task]))))
                for index, (name, definition) in enumerate(stock[task].items())
            }
            scores += _scores(task, subjects)
            reports += [piece["lm_eval"] for piece in subjects.values() if record]
            _warn_of_cuts(scores[-1])
        return [*scores, *mean_of_tasks(scores)], reports


def _scores(task: str, subjects: Mapping[str, dict[str, Any]]) -> list[Score]:
    """Make one score per metric. The subjects of a task are pooled by lm-eval's formulas, weighted by their rows.

    Where requests were longer than the model's context, `details` has `truncated`: the number of such `requests`, the
    number `of` all requests, and the number of `tokens` that were cut off.
    """
    cut = {key: sum(subject["cut"][key] for subject in subjects.values()) for key in ("requests", "of", "tokens")}
    truncated = {"truncated": cut} if cut["requests"] else {}
    if len(subjects) == 1:
        (subject,) = subjects.values()
        return [Score(task, **result, details=dict(truncated)) for result in subject["results"]]
    from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr

    scores = []
    for results in zip(*(subject["results"] for subject in subjects.values()), strict=True):
        values, errors, sizes = ([result[key] for result in results] for key in ("value", "stderr", "n"))
        mean = aggregate_subtask_metrics(values, sizes)
        # A subject of one row has no error of its own, and no weight in the pooled error.
        known = [error or 0.0 for error in errors]
        stderr = float(pooled_sample_stderr(known, sizes)) if sum(sizes) > len(sizes) else None
        details = dict(zip(subjects, values, strict=True)) | truncated
        scores.append(Score(task, results[0]["metric"], mean, stderr, sum(sizes), details))
    return scores


def _warn_of_cuts(score: Score) -> None:
    """Say in the log whether requests of a task were longer than the model's context."""
    if cut := score.details.get("truncated"):
        log.warning(
            "%s: %d of %d requests are longer than the model's context: their first tokens were cut off, %d in all",
            *(score.task, cut["requests"], cut["of"], cut["tokens"]),
        )


def mean_of_tasks(scores: list[Score]) -> list[Score]:
    """Average `acc` over the tasks, if there are several; each task counts the same.

    A task with an accuracy of 0 or 1 counts with the error of Wilson's interval, as its own standard error is 0.
    """
    accuracies = [score for score in scores if score.metric == "acc"]
    if len(accuracies) < 2:
        return []
    mean = math.fsum(score.value for score in accuracies) / len(accuracies)
    errors = [error for error in map(_error, accuracies) if error is not None]
    # The samples of two tasks are independent.
    stderr = math.hypot(*errors) / len(errors) if len(errors) == len(accuracies) else None
    return [Score(MEAN, "acc", mean, stderr, sum(score.n for score in accuracies))]


def _error(score: Score) -> float | None:
    return wilson_error(score.value, score.n) if certain(score.value, score.stderr) else score.stderr
