"""The jobs that bring models, corpora and bundles of tasks here. No other jobs use the network."""

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


class Fetch(Job):
    """Base class of the jobs that fetch an asset. The only wildcard is the asset's catalog name."""

    kind: ClassVar[str]
    """The catalog of the asset."""

    @property
    def asset(self) -> str:
        """Kind and catalog name."""
        return f"{self.kind}/{self.subject}"

    @property
    def _entry(self) -> Any:
        """The catalog entry with the catalog name as its title, as a title that tables print decides nothing."""
        return getattr(self.config, self.kind)[self.subject].model_copy(update={"title": self.subject})

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local asset: when one changes, so does everything that is made from it."""
        return {"files": list(map(str, local_files(self._entry.source)))}


class FetchModelSpec(Spec):
    """Everything that decides which model arrives."""

    entry: ModelEntry
    training: str | None = Field(None, exclude_if=is_none)
    """Hash of the spec of the job that trains the model, if it is trained here."""


class FetchModel(Fetch):
    """Bring one model here."""

    rule = "fetch_model"
    kind = "models"
    subject_pattern = "{model}"
    writes: ClassVar = {"asset": paths.MODEL}

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local model, or of a model that is trained here."""
        if isinstance(self._entry.source, TrainedSource):
            trained = self.plan.job("train_model", **self.wildcards)
            files = [trained.output(name) for name in trained.writes if name not in ("training", "measured")]
            return {"files": files, "training": trained.output()}
        return {**super().needs, "training": None}

    def _spec(self) -> str:
        return FetchModelSpec(code=self.code(), entry=self._entry, training=self.hash_of("training")).text


class FetchCorpusSpec(Spec):
    """Everything that decides which text arrives and how it is cut into splits."""

    entry: CorpusEntry


class FetchCorpus(Fetch):
    """Bring one corpus here and cut it into splits."""

    rule = "fetch_corpus"
    kind = "corpora"
    subject_pattern = "{corpus}"
    writes: ClassVar = {"asset": paths.CORPUS}

    def _spec(self) -> str:
        return FetchCorpusSpec(code=self.code(), entry=self._entry).text


class FetchTasksSpec(Spec):
    """Everything that decides which rows of tasks arrive."""

    entry: TasksEntry


class FetchTasks(Fetch):
    """Bring the rows of a bundle of tasks here."""

    rule = "fetch_tasks"
    kind = "tasks"
    subject_pattern = "{tasks}"
    writes: ClassVar = {"asset": paths.TASKS}

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local bundle of tasks."""
        return {"files": list(map(str, local_row_files(self._entry).values()))}

    def _spec(self) -> str:
        untitled = {name: task.model_copy(update={"title": None}) for name, task in self._entry.tasks.items()}
        return FetchTasksSpec(code=self.code(), entry=self._entry.model_copy(update={"tasks": untitled})).text
