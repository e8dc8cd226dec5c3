"""The jobs that search for a better allocation: one for each seed, and one that picks the best result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from prunebench.config.entries import SearchEntry, Shape
from prunebench.config.values import Compute
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Spec
from prunebench.plan.sizes import parameters


class SearchAllocationSpec(Spec):
    """Everything that decides the result of one seed of a search."""

    model: str
    family: str
    storage: str
    """The dtype of the stored weights."""
    profile: str
    corpus: str
    windows: int
    seqlen: int
    sparsity: str
    space: str
    strategy: str
    strategy_params: dict[str, Any]
    evaluations: int
    seed: int
    compute: Compute


class SearchAllocation(Job):
    """Search for an allocation, from one seed."""

    rule = "search_allocation"
    subject_pattern = "{search}-seed{seed}"
    writes: ClassVar = {"result": paths.SEARCH, "history": paths.SEARCH_HISTORY, "measured": paths.SEARCH_MEASURED}
    passes = 1
    runs_model = True

    @property
    def _entry(self) -> SearchEntry:
        return self.config.searches[self.wildcards["search"]]

    @property
    def model(self) -> str:
        """The catalog name of the model on which the search runs."""
        return self._entry.model

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The model, the text on which candidates are judged, and the profile of the dense model."""
        draw = {"calibration": self._entry.calibration, "seed": self._entry.calibration_seed}
        return {
            "model": self.plan.job("fetch_model", model=self.model).output(),
            "corpus": self.plan.job("fetch_corpus", corpus=self._entry.corpus).output(),
            "profile": self.plan.job("profile", model=self.model, **draw).output(),
        }

    def _spec(self) -> str:
        entry, model = self._entry, self.config.models[self.model]
        evolution = {"population": entry.population, "sample_ratio": entry.sample_ratio, "parents": entry.parents}
        return SearchAllocationSpec(
            code=self.code(space=entry.space, family=model.family),
            model=self.hash_of("model"),
            family=model.family,
            storage=model.dtype,
            profile=self.hash_of("profile"),
            corpus=self.hash_of("corpus"),
            windows=entry.windows,
            seqlen=entry.seqlen,
            sparsity=entry.sparsity,
            space=entry.space,
            strategy=entry.strategy,
            strategy_params=evolution if entry.strategy == "evolution" else {},
            evaluations=entry.evaluations,
            seed=int(self.wildcards["seed"]),
            compute=self.compute,
        ).text

    @property
    def compute(self) -> Compute:
        """The compute settings of the search, or else of the config."""
        return self._entry.compute or self.config.compute

    @property
    def tokens(self) -> int:
        """The number of tokens of all evaluations together."""
        return self._entry.evaluations * self._entry.windows * self._entry.seqlen

    def bytes(self, shape: Shape) -> int:
        """The bytes of a pass, of the file of weights, which the kernel may count, and of ranks of the same size."""
        return super().bytes(shape) + 4 * parameters(shape)


class GatherSearchSpec(Spec):
    """Everything that decides which seed of a search is the best."""

    seeds: dict[str, str]
    """Hashes of the specs of the seeds' jobs, by seed."""


class GatherSearch(Job):
    """Pick the best result of the seeds of a search."""

    rule = "gather_search"
    subject_pattern = "{search}"
    writes: ClassVar = {"best": paths.SEARCH_BEST}

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The results of all seeds."""
        name = self.wildcards["search"]
        seeds = self.config.searches[name].seeds
        return {"results": [self.plan.job("search_allocation", search=name, seed=seed).output() for seed in seeds]}

    def _spec(self) -> str:
        seeds = {job.wildcards["seed"]: job.spec_hash for job in self.upstream}
        return GatherSearchSpec(code=self.code(), seeds=seeds).text
