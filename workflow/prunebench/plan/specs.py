"""Specs: one canonical JSON string per job that holds everything that can change its numbers.

Snakemake re-runs a job when its params change, but compares them as a nameless set, drops objects it cannot print and
cannot see edits to imported modules. So each rule has one param, this string: the job's own parameters, the hashes of
the specs it builds on, and fingerprints of the code that computes. Device, host and logging are provenance, not spec.
"""

from functools import cache
from typing import Any

from prunebench.cell import Cell
from prunebench.config.entries import CorpusEntry, ModelEntry, TasksEntry, TrainedSource
from prunebench.config.schema import Config, calibration_parts, configured
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.identity.fingerprint import fingerprint
from prunebench.plan.grid import allocation_form, reads_profile, runs_model
from prunebench.runtime.provenance import version

_METHODS = "training model corpus tasks tokens profile search search_best allocation gradients prune evaluation"


class Specs:
    """The specs of all jobs of one config. Methods return canonical JSON; each is computed once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        for name in _METHODS.split():
            setattr(self, name, cache(getattr(self, name)))

    def model(self, model: str) -> str:
        """Spec of fetch_model."""
        entry = self.config.models[model]
        trained = {"training": spec_hash(self.training(model))} if isinstance(entry.source, TrainedSource) else {}
        return canonical({"code": _code("fetch_model"), "entry": _entry(model, entry), **trained})

    def training(self, model: str) -> str:
        """Spec of train_model."""
        entry = self.config.models[model]
        assert isinstance(entry.source, TrainedSource)
        return canonical(
            {
                "code": _code("train_model"),
                "entry": _entry(model, entry),
                "corpora": {
                    name: spec_hash(self.corpus(name)) for name in (*entry.source.corpora, *entry.source.unseen)
                },
                "compute": entry.source.compute.model_dump(mode="json"),
            }
        )

    def corpus(self, corpus: str) -> str:
        """Spec of fetch_corpus."""
        return canonical({"code": _code("fetch_corpus"), "entry": _entry(corpus, self.config.corpora[corpus])})

    def tasks(self, tasks: str) -> str:
        """Spec of fetch_tasks."""
        return canonical({"code": _code("fetch_tasks"), "entry": _entry(tasks, self.config.tasks[tasks])})

    def asset(self, asset: str) -> str:
        """Spec of what fetches an asset, by its kind and name."""
        kind, name = asset.split("/")
        return {"corpora": self.corpus, "models": self.model, "tasks": self.tasks}[kind](name)

    def tokens(self, model: str, calibration: str, seed: int) -> str:
        """Spec of calibrate: the token file that all methods share."""
        corpus, samples, seqlen = calibration_parts(calibration)
        entry = self.config.corpora[corpus]
        return canonical(
            {
                "code": _code("calibrate"),
                "model": spec_hash(self.model(model)),
                "corpus": spec_hash(self.corpus(corpus)),
                "samples": samples,
                "seqlen": seqlen,
                "seed": seed,
                **({} if entry.calibration == "pack" else {"strategy": entry.calibration}),
                **({} if entry.calibration_bos is False else {"bos": entry.calibration_bos}),
            }
        )

    def profile(self, model: str, calibration: str, seed: int) -> str:
        """Spec of profile: what all allocators that look at data share."""
        family = self.config.models[model].family
        return canonical(
            {
                "code": {**_code("profile"), "family": fingerprint(f"prunebench.models.{family}")},
                "model": spec_hash(self.model(model)),
                "family": family,
                "storage": self.config.models[model].dtype,
                "tokens": spec_hash(self.tokens(model, calibration, seed)),
                "compute": self.config.compute.model_dump(mode="json"),
            }
        )

    def search(self, search: str, seed: int) -> str:
        """Spec of search_allocation."""
        entry = self.config.searches[search]
        model = self.config.models[entry.model]
        evolution = {"population": entry.population, "sample_ratio": entry.sample_ratio, "parents": entry.parents}
        return canonical(
            {
                "code": {
                    **_code("search_allocation"),
                    "space": fingerprint(f"prunebench.search.{entry.space}"),
                    "family": fingerprint(f"prunebench.models.{model.family}"),
                },
                "model": spec_hash(self.model(entry.model)),
                "family": model.family,
                "storage": model.dtype,
                "profile": spec_hash(self.profile(entry.model, entry.calibration, entry.calibration_seed)),
                "corpus": spec_hash(self.corpus(entry.corpus)),
                "windows": entry.windows,
                "seqlen": entry.seqlen,
                "sparsity": entry.sparsity,
                "space": entry.space,
                "strategy": entry.strategy,
                "strategy_params": evolution if entry.strategy == "evolution" else {},
                "evaluations": entry.evaluations,
                "seed": seed,
                "compute": (entry.compute or self.config.compute).model_dump(mode="json"),
            }
        )

    def search_best(self, search: str) -> str:
        """Spec of gather_search."""
        seeds = {str(seed): spec_hash(self.search(search, seed)) for seed in self.config.searches[search].seeds}
        return canonical({"code": _code("gather_search"), "seeds": seeds})

    def allocation(self, point: Cell) -> str:
        """Spec of allocate, for a point in `allocation_form`."""
        entry = self.config.allocators[point.allocator]
        allocator = configured("allocators", entry)
        search = allocator.search(point.sparsity)
        searched = {"search": spec_hash(self._found(*search))} if search else {}
        family = self.config.models[point.model].family
        run: dict[str, Any] = {}
        if runs_model(self.config, point):
            run = {"tokens": self._tokens_hash(point), "compute": self.config.compute.model_dump(mode="json")}
        return canonical(
            {
                "code": {
                    **_code("allocate"),
                    "allocator": fingerprint(f"prunebench.allocators.{allocator.name}"),
                    "family": fingerprint(f"prunebench.models.{family}"),
                },
                "model": spec_hash(self.model(point.model)),
                "family": family,
                "allocator": allocator.name,
                "params": allocator.params.model_dump(mode="json"),
                "layers": entry.layers,
                "pattern": point.pattern,
                "sparsity": point.sparsity,
                "seed": point.seed,
                "storage": self.config.models[point.model].dtype,
                "profile": spec_hash(self.profile(point.model, point.calibration, point.seed))
                if reads_profile(self.config, point)
                else None,
                **searched,
                **run,
            }
        )

    def gradients(self, model: str, calibration: str, seed: int) -> str:
        """Spec of gradients: what all methods that look at the loss share."""
        family = self.config.models[model].family
        return canonical(
            {
                "code": {**_code("gradients"), "family": fingerprint(f"prunebench.models.{family}")},
                "model": spec_hash(self.model(model)),
                "family": family,
                "storage": self.config.models[model].dtype,
                "tokens": spec_hash(self.tokens(model, calibration, seed)),
                # One window at a time, whatever the batch size.
                "compute": self.config.compute.model_dump(mode="json", exclude={"batch_size"}),
            }
        )

    def prune(self, cell: Cell) -> str:
        """Spec of prune, for a cell in normal form."""
        entry = self.config.methods[cell.method]
        method = configured("methods", entry)
        family = self.config.models[cell.model].family
        # Without calibration nothing runs forward: neither tokens nor compute settings change the result.
        calibrated = "calibration" in method.uses
        tokens = self._tokens_hash(cell) if calibrated else None
        compute = (entry.compute or self.config.compute).model_dump(mode="json") if calibrated else None
        gradients = {}
        if method.needs_gradients:
            gradients["gradients"] = spec_hash(self.gradients(cell.model, cell.calibration, cell.seed))
        return canonical(
            {
                "code": {
                    **_code("prune"),
                    "method": fingerprint(f"prunebench.methods.{method.name}"),
                    "family": fingerprint(f"prunebench.models.{family}"),
                },
                "model": spec_hash(self.model(cell.model)),
                "family": family,
                "storage": self.config.models[cell.model].dtype,
                "tokens": tokens,
                **gradients,
                "allocation": spec_hash(self.allocation(allocation_form(self.config, cell))),
                "assets": {asset: spec_hash(self.asset(asset)) for asset in method.assets},
                "method": method.name,
                "params": method.params.model_dump(mode="json"),
                "pattern": cell.pattern,
                "sparsity": cell.sparsity,
                "seed": cell.seed,
                "compute": compute,
            }
        )

    def evaluation(self, cell: Cell, suite: str) -> str:
        """Spec of evaluate: one suite on one cell."""
        entry = self.config.suites[suite]
        plugin = configured("suites", entry)
        family = self.config.models[cell.model].family
        return canonical(
            {
                "code": {
                    **_code("evaluate"),
                    "suite": fingerprint(f"prunebench.suites.{plugin.name}"),
                    "family": fingerprint(f"prunebench.models.{family}"),
                },
                "prune": spec_hash(self.prune(cell)),
                "family": family,
                "storage": self.config.models[cell.model].dtype,
                "suite": plugin.name,
                "params": plugin.params.model_dump(mode="json"),
                "assets": {asset: spec_hash(self.asset(asset)) for asset in plugin.assets},
                "versions": {library: version(library) for library in plugin.libraries},
                "compute": (entry.compute or self.config.compute).model_dump(mode="json"),
            }
        )

    def _found(self, search: str, seed: int | None) -> str:
        return self.search_best(search) if seed is None else self.search(search, seed)

    def _tokens_hash(self, cell: Cell) -> str:
        return spec_hash(self.tokens(cell.model, cell.calibration, cell.seed))


def _entry(name: str, entry: ModelEntry | CorpusEntry | TasksEntry) -> dict[str, Any]:
    """A catalog entry under its name: what tables print for it must not fetch it again."""
    return {**entry.model_dump(mode="json", exclude={"tasks": {"__all__": {"title"}}}), "title": name}


def _code(stage: str) -> dict[str, str]:
    return {"stage": fingerprint(f"prunebench.stages.{stage}")}
