"""Entries of config/catalog/tasks.yaml: rows of tasks, and the files that hold them."""

import re
from typing import Literal

from pydantic import Field, model_validator

from prunebench.config.sources import HubSource, TasksSource
from prunebench.config.values import Entry, InnerPath, Line, TaskName, is_none

_PART = re.compile(r"(.*-)\*-of-(?!00000)(\d{5})(\.[^/]*)")
"""The path of a file in parts, as the library datasets names them: all digits stand for the number of parts."""

ImageRows = Literal["easy_vqa", "scienceqa", "textvqa", "vqav2"]
"""The forms of rows with images that are known: see `assets.pictures`."""


class TaskData(Entry):
    """Rows for one task of lm-eval, or questions about images, of which all `rows` are evaluated together.

    In a task of many subjects, a `*` in `stock` and `rows` stands for the subject.
    """

    title: Line | None = Field(
        None, exclude_if=is_none, description="head of the task's column in tables; default: the task's name"
    )
    stock: InnerPath | None = Field(
        None, description="the YAML file of the task below lm_eval/tasks, which says its prompts and metrics"
    )
    images: ImageRows | None = Field(
        None,
        exclude_if=is_none,
        description="the form of rows with images, for suite vqa: easy_vqa, or the columns of a data set on the hub",
    )
    pictures: InnerPath | None = Field(
        None,
        exclude_if=is_none,
        description="if images are files of their own: their paths, with a `*` for the number that rows call them by",
    )
    rows: dict[TaskName, InnerPath] = Field(
        min_length=1,
        description="for each split, a file of the source: .arrow (as datasets saves it), .parquet, .jsonl, "
        ".jsonl.gz; test-*-of-00003.parquet stands for its parts, from test-00000-of-00003.parquet on",
    )
    requests: Literal["arc", "boolq", "lambada", "openbookqa"] | None = Field(
        None,
        description="set if the files hold requests of OLMo's evaluation of this task; they are turned back into rows",
    )

    @model_validator(mode="after")
    def _subjects_everywhere(self) -> "TaskData":
        if (self.stock is None) == (self.images is None):
            raise ValueError("give either 'stock', for a task of lm-eval, or 'images', for questions about images")
        if self.pictures is not None and (self.images is None or "*" not in self.pictures):
            raise ValueError("'pictures' are the files of 'images', with a '*' in place of their numbers")
        stars = {"*" in file for files in ([self.stock or ""], *self.files.values()) for file in files}
        if len(stars) > 1:
            raise ValueError("'*' stands for a subject: put one into 'stock' and all of 'rows', or into none of them")
        if self.requests and True in stars:
            raise ValueError("'requests' belong to one task: it cannot have many subjects ('*')")
        return self

    @property
    def files(self) -> dict[str, list[str]]:
        """The files of each split: one, or its parts in order."""
        return {split: _parts(file) for split, file in self.rows.items()}

    @property
    def has_subjects(self) -> bool:
        """Whether a `*` stands for the subjects of the task."""
        return any("*" in file for files in self.files.values() for file in files)

    @property
    def has_many(self) -> bool:
        """Whether a `*` stands for subjects or for images."""
        return self.has_subjects or self.pictures is not None


def _parts(file: str) -> list[str]:
    """The parts that `file` stands for, or `file` itself."""
    match = _PART.fullmatch(file)
    if match is None:
        return [file]
    start, count, end = match.groups()
    return [f"{start}{number:05}-of-{count}{end}" for number in range(int(count))]


class TasksEntry(Entry):
    """Rows for tasks of lm-eval, from one source."""

    title: Line
    source: TasksSource
    tasks: dict[TaskName, TaskData] = Field(min_length=1)

    @model_validator(mode="after")
    def _files_are_named(self) -> "TasksEntry":
        if isinstance(self.source, HubSource) and any(data.has_many for data in self.tasks.values()):
            raise ValueError("a hub source names every file: replace the '*' by names, or write *-of-00004 for parts")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> "TasksEntry":
        # Each task has files under its name, and a task of many subjects under its name, "_" and a subject.
        many = tuple(f"{name}_".lower() for name, data in self.tasks.items() if data.has_subjects)
        names = [name.lower() for name in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError("two tasks differ in upper and lower case only, which some disks do not keep apart")
        if many and (clashing := [name for name in names if name.startswith(many)]):
            raise ValueError(f"the task {clashing[0]!r} has the name of a subject of another task: rename it")
        return self
