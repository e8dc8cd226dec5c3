"""The jobs that fetch models, corpora and bundles of tasks. No other jobs use the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from prunebench.assets.sources import local_files
from prunebench.assets.tasks import local_row_files
from prunebench.config.entries import CorpusEntry, ModelEntry
from prunebench.config.sources import TrainedSource
from prunebench.config.tasks import TasksEntry
from prunebench.config.values import is_none
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec
from prunebench.storage.digests import digests_of


class FetchSpec(Spec):
    """Everything that decides which asset of any kind is fetched."""

    content: str | None = Field(None, exclude_if=is_none)
    """The digest of the files of a local source. Other sources are pinned by digests and revisions in their entries."""

    def check(self, files: Sequence[Path]) -> None:
        """Raise PrunebenchError if `files`, of a local source, have other content than when the job was planned."""
        if self.content not in (None, content(files)):
            raise PrunebenchError(f"{files[0].parent} has changed since this job was planned: run snakemake again")


class FetchModelSpec(FetchSpec):
    """Everything that decides which model is fetched. Its title is the catalog name: a new one fetches nothing."""

    entry: ModelEntry
    training: str | None = Field(None, exclude_if=is_none)
    """Hash of the spec of the job that trains the model, if it is trained here."""


class FetchCorpusSpec(FetchSpec):
    """Everything that decides which text is fetched and how it is cut into splits. The title is the catalog name."""

    entry: CorpusEntry


class FetchTasksSpec(FetchSpec):
    """Everything that decides which rows of tasks are fetched. The title is the catalog name."""

    entry: TasksEntry


def content(files: Sequence[Path]) -> str | None:
    """A digest of the names and the content of `files`; None without files. A file is read again if it may differ."""
    names = sorted(files)
    pairs = [[file.name, digest] for file, digest in zip(names, digests_of(names), strict=True)]
    return spec_hash(canonical(pairs)) if pairs else None


class Fetch(Job):
    """Base class of the jobs that fetch an entry of a catalog. The catalog name is their only wildcard."""

    kind: ClassVar[str]
    """The catalog."""
    Spec: ClassVar[Any]

    @property
    def asset(self) -> str:
        """The kind and catalog name of the asset, as in corpora/c4_type."""
        return f"{self.kind}/{self.subject}"

    @property
    def entry(self) -> Any:
        """The entry of the catalog."""
        return getattr(self.config, self.kind)[self.subject]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local source. When one changes, everything that is made from it is made again."""
        return {"files": list(map(str, self.files_on_disk(self.entry)))}

    @staticmethod
    def files_on_disk(entry: Any) -> list[Path]:
        """The files of `entry` if its source is local; none for other sources."""
        return local_files(entry.source)

    def _spec(self) -> str:
        return self._text()

    def _text(self, **more: Any) -> str:
        entry = self.entry.model_copy(update={"title": self.subject})
        digest = content(self.files_on_disk(entry))
        text: str = self.Spec(code=self.code(), entry=entry, content=digest, **more).text
        return text


class FetchModel(Fetch):
    """Fetch one model."""

    rule = "fetch_model"
    kind = "models"
    subject_pattern = "{model}"
    writes: ClassVar = {"asset": paths.MODEL}
    Spec = FetchModelSpec

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The files of a local model; or the files of a model that is trained here, and the record of its training."""
        if not isinstance(self.entry.source, TrainedSource):
            return {**super().needs, "training": None}
        trained = self.plan.job("train_model", **self.wildcards)
        files = [trained.output(name) for name in trained.writes if name not in ("training", "measured")]
        return {"files": files, "training": trained.output()}

    def _spec(self) -> str:
        return self._text(training=self.hash_of("training"))


class FetchCorpus(Fetch):
    """Fetch one corpus and cut it into splits."""

    rule = "fetch_corpus"
    kind = "corpora"
    subject_pattern = "{corpus}"
    writes: ClassVar = {"asset": paths.CORPUS}
    Spec = FetchCorpusSpec


class FetchTasks(Fetch):
    """Fetch the rows of a bundle of tasks."""

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

    @staticmethod
    def files_on_disk(entry: Any) -> list[Path]:
        """The files of a local bundle of tasks."""
        return list(local_row_files(entry).values())
