"""Answers to questions about images."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeInt

from prunebench.config.values import Slug, TaskName
from prunebench.plugin import Parameters
from prunebench.registry import did_you_mean
from prunebench.suites import workloads
from prunebench.suites.base import Score, Suite
from prunebench.suites.lm_eval import ACCURACY, mean_of_tasks
from prunebench.suites.metrics import MEAN
from prunebench.suites.visual_answers import chosen, vqa_accuracy
from prunebench.suites.workloads import Workload

if TYPE_CHECKING:
    from prunebench.config.schema import Config
    from prunebench.engine.subject import Subject
    from prunebench.published.values import Published
    from prunebench.storage.resume import Parts

Answer = Callable[[list[str], list[bytes]], list[str]]
"""A function from questions and the images of the same places, as contents of files, to answers."""


class Vqa(Suite):
    """Measure how often a vision-language model answers questions about images, with rows from the catalog.
    The score of a task is `acc`, with its standard error over rows.

        suites:
          easy_vqa: {suite: vqa, params: {data: easy_vqa, tasks: [easy_vqa], limit: 500}}

    Prompts are LLaVA-1.5's, and answers are generated greedily by transformers. A row with the answers of ten people
    (VQAv2, TextVQA) scores VQA accuracy, by EvalAI's normalisation: each person's answer is left out once, and
    min(1, agreeing / 3) of the others counts. A row with choices (ScienceQA) scores whether the answer names the letter
    of the right choice. An answer that names no choice is wrong.

    With `ocr` the words that a data set read in the image are in the prompt, as in LLaVA-1.5's published value for
    TextVQA, and the task is called `textvqa_ocr` in scores. The published values of VQAv2 are of its test-dev split,
    which only a server can score; here it is the validation split. What else differs: docs/protocol.md.

    Images are padded to a square by default, as LLaVA-1.5 does, before the model's own processor resizes them. `limit`
    draws rows at random, the same for every cell. A killed job resumes with the next batch. The whole model must fit
    into memory. A logit that is not finite fails the evaluation.
    """

    class Params(Parameters):
        """Parameters of visual question answering."""

        data: Slug = Field(description="catalog name of a bundle of tasks with images")
        tasks: list[TaskName] = Field(min_length=1, description="tasks of that bundle")
        limit: int | None = Field(None, ge=2, description="so many rows of a task, drawn by `seed`; default all")
        seed: NonNegativeInt = 0
        """which rows `limit` draws"""
        ocr: bool = Field(False, description="put the words that were read in the image into the prompt")
        prompt: Literal["llava", "template"] = Field(
            "llava", description="LLaVA-1.5's text around a question, or the chat template of the model"
        )
        pad: bool = Field(True, description="pad images to a square in the mean colour of the model's processor")
        new_tokens: int = Field(128, ge=1, description="the greatest number of tokens of an answer")
        samples: bool = Field(
            False, description="keep the answer and the score of each row in the details of the scores"
        )

    name = "vqa"
    title = "Questions about images"
    metrics = (ACCURACY,)
    table = "zeroshot"
    libraries = ("pillow",)
    sees = True

    @property
    def assets(self) -> tuple[str, ...]:
        """The bundle of tasks that the rows and images come from."""
        return (f"tasks/{self.params.data}",)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks in scores, and of their mean if there are several."""
        names = tuple(map(self._title, self.params.tasks))
        return (*names, *([MEAN] if len(names) > 1 else []))

    def _title(self, task: str) -> str:
        return f"{task}_ocr" if self.params.ocr else task

    def mistakes(self, config: Config) -> Iterator[str]:
        """Yield a mistake for each task that is named twice or not in the bundle, or that has no images or no words."""
        known = config.tasks[self.params.data].tasks
        for task, times in Counter(self.params.tasks).items():
            if times > 1:
                yield f"tasks: {task!r} is named {times} times: name it once"
            if task not in known:
                yield f"tasks: {self.params.data} has no task {task!r}{did_you_mean(task, known)}"
            elif known[task].images is None:
                yield f"tasks: {task!r} of {self.params.data} has no images: suite lm_eval evaluates it"
            elif self.params.ocr and known[task].images != "textvqa":
                yield f"ocr: {task!r} has no OCR tokens: leave 'ocr' out"

    def differences(self, value: Published) -> Iterator[str]:
        """Yield differences in rows, splits, prompts, images and the length of answers."""
        if self.params.limit:
            yield f"all rows, here {self.params.limit} of each task"
        if value.task == "vqav2":
            yield "split test-dev, here validation"
        if self.params.prompt != "llava":
            yield "LLaVA-1.5's prompt, here the model's chat template"
        if not self.params.pad:
            yield "images padded to a square, here as they are"
        default = type(self.params).model_fields["new_tokens"].default
        if self.params.new_tokens != default:
            yield f"answers of up to {default} tokens or more, here {self.params.new_tokens}"

    def workload(self, config: Config) -> Workload:
        """Estimate the rows of all tasks."""
        return workloads.of_tasks([self._title(task) for task in self.params.tasks], self.params.limit)

    def run(self, subject: Subject, assets: Mapping[str, Path], parts: Parts) -> list[Score]:
        """Answer task by task in batches on one model; a killed job resumes with the next batch."""
        from prunebench.suites.viewer import Viewer

        params = self.params
        viewer = cache(partial(Viewer, subject, prompt=params.prompt, pad=params.pad, new_tokens=params.new_tokens))
        return self.ask(
            lambda questions, images: viewer().answers(questions, images),
            assets[f"tasks/{params.data}"],
            parts,
            batch_size=subject.batch_size,
        )

    def ask(self, answer: Answer, directory: Path, parts: Parts, *, batch_size: int) -> list[Score]:
        """Put the questions in `directory`, a bundle of tasks, to `answer` in batches, and score what it answers."""
        from prunebench.assets.pictures import Pictures
        from prunebench.assets.tasks import draw, load_rows
        from prunebench.runtime.progress import track
        from prunebench.suites.viewer import question_of

        pictures, params = Pictures(directory), self.params

        def answers(rows: list[dict[str, Any]]) -> list[str]:
            images = [pictures.read(row["image"]) for row in rows]
            return answer([question_of(row, ocr=params.ocr) for row in rows], images)

        scores: list[Score] = []
        for task in params.tasks:
            rows = [row for part in load_rows(directory, task).values() for row in part]
            rows = draw(rows, params.limit, params.seed)
            batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
            given = [
                text
                for index, batch in enumerate(track(batches, "batch"))
                for text in parts.get_or(f"{task}_{index}", partial(answers, batch))
            ]
            scores.append(score_of(self._title(task), rows, given, keep=params.samples))
        return [*scores, *mean_of_tasks(scores)]


def score_of(task: str, rows: list[dict[str, Any]], answers: list[str], *, keep: bool = False) -> Score:
    """The mean accuracy of `answers` to `rows`; with `keep` the details have each answer and its accuracy."""
    points = [_points(row, answer) for row, answer in zip(rows, answers, strict=True)]
    stderr = statistics.stdev(points) / math.sqrt(len(points)) if len(points) > 1 else None
    samples = [
        {"question": row["question"], "answer": answer, "score": point}
        for row, answer, point in zip(rows, answers, points, strict=True)
    ]
    return Score(
        task, "acc", math.fsum(points) / len(points), stderr, len(points), {"samples": samples} if keep else {}
    )


def _points(row: dict[str, Any], answer: str) -> float:
    if "choices" in row:
        return float(chosen(answer, len(row["choices"])) == row["answer"])
    return vqa_accuracy(answer, row["answers"])
