"""Models, corpora and bundles of tasks: the only jobs that use the network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from prunebench.assets.sources import local_files
from prunebench.assets.tasks import local_row_files
from prunebench.config.entries import CorpusEntry, ModelEntry, TasksEntry, TrainedSource, is_none
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec


class FetchModelSpec(Spec):
    """What decides which model arrives, under its catalog name: a title that tables print must not fetch it again."""

    entry: ModelEntry
    training: str | None = Field(None, exclude_if=is_none)
    """Hash of the spec of the job that trains the model, if it is trained here."""


class FetchModel(Job):
    """Bring one model here."""

    rule = "fetch_model"
    subject_pattern = "{model}"
    writes: ClassVar = {"asset": paths.MODEL}

    @property
    def asset(self) -> str:
        """Kind and catalog name."""
        return f"models/{self.wildcards['model']}"

    @property
    def _entry(self) -> ModelEntry:
        return self.config.models[self.wildcards["model"]]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local model or of one trained here: when one changes, so does all that is made from it."""
        if isinstance(self._entry.source, TrainedSource):
            trained = self.plan.job("train_model", **self.wildcards)
            files = [trained.output(name) for name in trained.writes if name not in ("training", "measured")]
            return {"files": files, "training": trained.output()}
        return {"files": list(map(str, local_files(self._entry.source))), "training": None}

    def _spec(self) -> str:
        entry = self._entry.model_copy(update={"title": self.wildcards["model"]})
        return FetchModelSpec(code=self.code(), entry=entry, training=self.hash_of("training")).text


class FetchCorpusSpec(Spec):
    """What decides which text arrives and how it is cut into splits."""

    entry: CorpusEntry


class FetchCorpus(Job):
    """Bring one corpus here and cut it into splits."""

    rule = "fetch_corpus"
    subject_pattern = "{corpus}"
    writes: ClassVar = {"asset": paths.CORPUS}

    @property
    def asset(self) -> str:
        """Kind and catalog name."""
        return f"corpora/{self.wildcards['corpus']}"

    @property
    def _entry(self) -> CorpusEntry:
        return self.config.corpora[self.wildcards["corpus"]]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local corpus."""
        return {"files": list(map(str, local_files(self._entry.source)))}

    def _spec(self) -> str:
        entry = self._entry.model_copy(update={"title": self.wildcards["corpus"]})
        return FetchCorpusSpec(code=self.code(), entry=entry).text


class FetchTasksSpec(Spec):
    """What decides which rows of tasks arrive."""

    entry: TasksEntry


class FetchTasks(Job):
    """Bring the rows of a bundle of tasks here."""

    rule = "fetch_tasks"
    subject_pattern = "{tasks}"
    writes: ClassVar = {"asset": paths.TASKS}

    @property
    def asset(self) -> str:
        """Kind and catalog name."""
        return f"tasks/{self.wildcards['tasks']}"

    @property
    def _entry(self) -> TasksEntry:
        return self.config.tasks[self.wildcards["tasks"]]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local bundle of tasks."""
        return {"files": list(map(str, local_row_files(self._entry).values()))}

    def _spec(self) -> str:
        untitled = {name: task.model_copy(update={"title": None}) for name, task in self._entry.tasks.items()}
        entry = self._entry.model_copy(update={"title": self.wildcards["tasks"], "tasks": untitled})
        return FetchTasksSpec(code=self.code(), entry=entry).text
