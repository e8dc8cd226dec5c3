"""The jobs that train a model from random weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from prunebench.config.entries import ModelEntry, Shape
from prunebench.config.sources import TrainedSource
from prunebench.config.values import Compute
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec
from prunebench.plan.sizes import parameters

NAMES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
"""The files of the `from_pretrained` directory that training writes."""


class TrainModelSpec(Spec):
    """Everything that decides the weights of a model that is trained here."""

    entry: ModelEntry
    corpora: dict[str, str]
    """The corpora that are read: hashes of specs by name."""
    compute: Compute


class TrainModel(Job):
    """Train one model."""

    rule = "train_model"
    subject_pattern = "{model}"
    writes: ClassVar = {
        "training": f"{paths.TRAINED}.json",
        "measured": f"{paths.TRAINED}.measured.json",
        **{name: f"{paths.TRAINED}/{name}" for name in NAMES},
    }
    passes = 3
    runs_model = True

    @property
    def _source(self) -> TrainedSource:
        source = self.config.models[self.wildcards["model"]].source
        assert isinstance(source, TrainedSource)
        return source

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The corpora to train on, and the corpora whose text is left out of training."""
        return {"corpora": self.assets([f"corpora/{name}" for name in (*self._source.corpora, *self._source.unseen)])}

    def _spec(self) -> str:
        name = self.wildcards["model"]
        corpora = {job.wildcards["corpus"]: job.spec_hash for job in self.upstream}
        entry = self.config.models[name].model_copy(update={"title": name})
        return TrainModelSpec(code=self.code(), entry=entry, corpora=corpora, compute=self._source.compute).text

    @property
    def compute(self) -> Compute:
        """The compute settings of the source. Training does not use the settings of the config."""
        return self._source.compute

    @property
    def tokens(self) -> int:
        """The number of tokens of all steps together."""
        return self._source.steps * self._source.compute.batch_size * self._source.context

    def bytes(self, shape: Shape) -> int:
        """The bytes of the weights, the gradients and two sums of the optimiser, all in float32."""
        return 16 * parameters(shape)
