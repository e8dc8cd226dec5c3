"""Models, corpora and bundles of tasks: the only jobs that use the network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from prunebench.assets.sources import local_files
from prunebench.assets.tasks import local_row_files
from prunebench.config.entries import CorpusEntry, ModelEntry, TasksEntry, TrainedSource, is_none
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec


class FetchModelSpec(Spec):
    """What decides which model arrives. Its title is its catalog name: a new title fetches nothing again."""

    entry: ModelEntry
    training: str | None = Field(None, exclude_if=is_none)
    """Hash of the spec of the job that trains the model, if it is trained here."""


class FetchCorpusSpec(Spec):
    """What decides which text arrives and how it is cut into splits."""

    entry: CorpusEntry


class FetchTasksSpec(Spec):
    """What decides which rows of tasks arrive."""

    entry: TasksEntry


class Fetch(Job):
    """Base of the jobs that bring an entry of a catalog here; the catalog name is their only wildcard."""

    kind: ClassVar[str]
    """The catalog."""
    Spec: ClassVar[Any]

    @property
    def asset(self) -> str:
        """Kind and catalog name."""
        return f"{self.kind}/{self.subject}"

    @property
    def entry(self) -> Any:
        """The entry of the catalog."""
        return getattr(self.config, self.kind)[self.subject]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local source: when one changes, so does all that is made from it."""
        return {"files": list(map(str, local_files(self.entry.source)))}

    def _spec(self) -> str:
        spec: Spec = self.Spec(code=self.code(), entry=self.entry.model_copy(update={"title": self.subject}))
        return spec.text


class FetchModel(Fetch):
    """Bring one model here."""

    rule = "fetch_model"
    kind = "models"
    subject_pattern = "{model}"
    writes: ClassVar = {"asset": paths.MODEL}

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local model or of one trained here, and the record of its training."""
        if not isinstance(self.entry.source, TrainedSource):
            return {**super().needs, "training": None}
        trained = self.plan.job("train_model", **self.wildcards)
        files = [trained.output(name) for name in trained.writes if name not in ("training", "measured")]
        return {"files": files, "training": trained.output()}

    def _spec(self) -> str:
        entry = self.entry.model_copy(update={"title": self.subject})
        return FetchModelSpec(code=self.code(), entry=entry, training=self.hash_of("training")).text


class FetchCorpus(Fetch):
    """Bring one corpus here and cut it into splits."""

    rule = "fetch_corpus"
    kind = "corpora"
    subject_pattern = "{corpus}"
    writes: ClassVar = {"asset": paths.CORPUS}
    Spec = FetchCorpusSpec


class FetchTasks(Fetch):
    """Bring the rows of a bundle of tasks here."""

    rule = "fetch_tasks"
    kind = "tasks"
    subject_pattern = "{tasks}"
    writes: ClassVar = {"asset": paths.TASKS}
    Spec = FetchTasksSpec

    @property
    def entry(self) -> TasksEntry:
        """The entry of the catalog without the titles of its tasks, which only tables print."""
        entry = self.config.tasks[self.subject]
        tasks = {name: task.model_copy(update={"title": None}) for name, task in entry.tasks.items()}
        return entry.model_copy(update={"tasks": tasks})

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local bundle of tasks."""
        return {"files": list(map(str, local_row_files(self.entry).values()))}
