"""A config made concrete: its studies' cells, and the spec of every job. What the Snakefile and `collect` work from."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prunebench.assets.sources import local_files
from prunebench.assets.tasks import local_row_files
from prunebench.cell import NO_CALIBRATION, Cell
from prunebench.config.entries import ModelEntry, Shape, TrainedSource
from prunebench.config.schema import (
    CATALOG,
    CONFIG,
    Config,
    calibration_corpus,
    calibration_parts,
    configured,
    read_config,
)
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.identity.fingerprint import fingerprint
from prunebench.plan import paths
from prunebench.plan.checks import load_config
from prunebench.plan.grid import (
    Expansion,
    allocation_form,
    expand,
    method_of,
    model_shape,
    reads_profile,
    runs_model,
    search_used,
)
from prunebench.plan.outputs import Shown
from prunebench.plan.resources import Work
from prunebench.plan.specs import Specs
from prunebench.published.values import VALUES
from prunebench.storage.files import sha256_file

TEMPLATES = Path(__file__).parents[1] / "report/template"


@dataclass(frozen=True)
class Plan:
    """All that follows from one config. Cheap: no file but the config and its catalogs is read."""

    raw: dict[str, Any]
    file: str
    config: Config
    studies: dict[str, Expansion]

    @cached_property
    def specs(self) -> Specs:
        """The spec of every job."""
        return Specs(self.config)

    @cached_property
    def shown(self) -> Shown:
        """The tables and figures, and what each shows."""
        return Shown(self.config, self.studies)

    @cached_property
    def cells(self) -> dict[Cell, None]:
        """All distinct cells of all studies: a cell that two studies share is computed once."""
        return {cell: None for study in self.studies.values() for cell in study.cells}

    @cached_property
    def _by_wildcards(self) -> dict[tuple[str, ...], Cell]:
        points = {**self.cells, **{allocation_form(self.config, cell): None for cell in self.cells}}
        return {_key(cell.wildcards): cell for cell in points}

    def cell(self, wildcards: Any) -> Cell:
        """The cell (or allocation point, without a method) that a job's wildcards name."""
        return self._by_wildcards[_key({**{"method": ""}, **dict(wildcards.items())})]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The wildcards of every evaluation that the studies want."""
        wanted = {
            (cell, suite): {**cell.wildcards, "suite": suite}
            for study in self.studies.values()
            for cell in study.cells
            for suite in study.suites[cell]
        }
        return list(wanted.values())

    @property
    def masks(self) -> list[str]:
        """The mask files that are to stay: those of all cells, or none."""
        wanted = self.config.keep_weights == "mask"
        return [paths.MASKS.format(**cell.wildcards) for cell in self.cells if wanted]

    def model_files(self, model: str) -> list[str]:
        """The files of a local model or one trained here: when one changes, so does all that is made from it."""
        if self.training_corpora(model):
            return [file.format(model=model) for file in paths.TRAINED]
        return [str(file) for file in local_files(self.config.models[model].source)]

    def training_corpora(self, model: str) -> list[str]:
        """The corpora that training `model` reads, in the order of its spec; none for one that is not trained here."""
        source = self.config.models[model].source
        return sorted([*source.corpora, *source.unseen]) if isinstance(source, TrainedSource) else []

    def training(self, model: str) -> list[str]:
        """What is written of the training of `model`, if it is trained here."""
        return [paths.TRAINING.format(model=model)] if self.training_corpora(model) else []

    def training_threads(self, model: str) -> int:
        """CPU threads of the train_model job."""
        source = self.config.models[model].source
        assert isinstance(source, TrainedSource)
        return source.compute.threads

    def corpus_files(self, corpus: str) -> list[str]:
        """The files of a local corpus."""
        return [str(file) for file in local_files(self.config.corpora[corpus].source)]

    def task_files(self, tasks: str) -> list[str]:
        """The files of a local bundle of tasks."""
        return [str(file) for file in local_row_files(self.config.tasks[tasks]).values()]

    def tokens(self, cell: Cell) -> list[str]:
        """The token file that pruning `cell` reads, if its method looks at data."""
        if "calibration" in method_of(self.config, cell).uses:
            return [paths.TOKENS.format(**cell.wildcards)]
        return []

    def profile(self, point: Cell) -> list[str]:
        """The profile that the allocation of `point` (in `allocation_form`) reads, if its allocator looks at data."""
        return [paths.PROFILE.format(**point.wildcards)] if reads_profile(self.config, point) else []

    def allocator_tokens(self, point: Cell) -> list[str]:
        """The token file that the allocation of `point` (in `allocation_form`) reads: its allocator runs the model."""
        return [paths.TOKENS.format(**point.wildcards)] if runs_model(self.config, point) else []

    def search_runs(self, point: Cell) -> list[tuple[str, int]]:
        """(search, seed) of every run that this result rests on."""
        search = search_used(self.config, point)
        return [(search.name, seed) for seed in self.config.seeds(search)] if search else []

    def found(self, point: Cell) -> list[str]:
        """The file of that result."""
        search = search_used(self.config, point)
        if search is None:
            return []
        pattern = paths.SEARCH_BEST if search.seed is None else paths.SEARCH
        return [pattern.format(search=search.name, seed=search.seed)]

    def seed_results(self, search: str) -> list[str]:
        """The results of all seeds of a search."""
        return [paths.SEARCH.format(search=search, seed=seed) for seed in self.config.searches[search].seeds]

    def search_profile(self, search: str) -> str:
        """The profile of the dense model that a search reads."""
        entry = self.config.searches[search]
        return paths.PROFILE.format(model=entry.model, calibration=entry.calibration, seed=entry.calibration_seed)

    def search_threads(self, search: str) -> int:
        """CPU threads of a search_allocation job."""
        return (self.config.searches[search].compute or self.config.compute).threads

    def gradients(self, cell: Cell) -> list[str]:
        """The gradients that pruning `cell` reads, if its method looks at the loss."""
        return [paths.GRADIENTS.format(**cell.wildcards)] if method_of(self.config, cell).needs_gradients else []

    def calibration_corpus(self, calibration: str) -> str:
        """The corpus that a calibration name draws from."""
        return calibration_corpus(calibration)

    def allocation(self, cell: Cell) -> str:
        """The allocation file that `cell` shares."""
        return paths.ALLOCATION.format(**allocation_form(self.config, cell).wildcards)

    def measurements(self, cell: Cell) -> list[str]:
        """What was measured of all jobs that make `cell` of the dense model and its tokens, the prune job first."""
        point = allocation_form(self.config, cell)
        found = [paths.PRUNE_MEASURED.format(**cell.wildcards), paths.ALLOCATION_MEASURED.format(**point.wildcards)]
        if reads_profile(self.config, point):
            found.append(paths.PROFILE_MEASURED.format(**point.wildcards))
        if self.gradients(cell):
            found.append(paths.GRADIENTS_MEASURED.format(**cell.wildcards))
        return found

    def prune_threads(self, cell: Cell) -> int:
        """CPU threads of the prune job: part of the spec where anything runs forward."""
        compute = json.loads(self.specs.prune(cell))["compute"]
        return int(compute["threads"]) if compute else 1

    def allocate_threads(self, point: Cell) -> int:
        """CPU threads of the allocate job: part of the spec where the allocator runs the model."""
        return self.config.compute.threads if runs_model(self.config, point) else 1

    def evaluate_threads(self, suite: str) -> int:
        """CPU threads of an evaluate job."""
        return (self.config.suites[suite].compute or self.config.compute).threads

    def work(self, wildcards: Any) -> Work:
        """The sizes that decide what the job with these wildcards asks of its machine."""
        named = dict(wildcards.items())
        if "search" in named:
            search = self.config.searches[named["search"]]
            return Work(self._shapes[search.model], search.evaluations * search.windows * search.seqlen)
        entry = self.config.models[named["model"]]
        tokens = 0
        if "calibration" not in named and isinstance(entry.source, TrainedSource):
            tokens = entry.source.steps * entry.source.compute.batch_size * entry.source.context
        elif named.get("calibration", NO_CALIBRATION) != NO_CALIBRATION:
            _, samples, seqlen = calibration_parts(named["calibration"])
            tokens = samples * seqlen
        return Work(self._shapes[named["model"]], tokens)

    @cached_property
    def _shapes(self) -> dict[str, Shape | None]:
        return {name: _shape(entry) for name, entry in self.config.models.items()}

    def collect_spec(self) -> str:
        """Spec of collect: the config, and a digest of every cell that it expects or skips."""
        expected = canonical(
            [[str(cell) for cell in study.cells] + [*map(str, study.skipped)] for study in self.studies.values()]
        )
        return canonical(
            {
                "code": fingerprint("prunebench.stages.collect"),
                "config": self.raw,
                "file": self.file,
                "cells": spec_hash(expected),
            }
        )

    def table_spec(self, table: str) -> str:
        """Spec of `table` of any study; the published values count as code."""
        return self._output_spec("stages.tables", f"tables.{table}", published=sha256_file(VALUES))

    def figure_spec(self, figure: str) -> str:
        """Spec of `figure` of any study."""
        return self._output_spec("stages.figures", f"figures.{figure}")

    def report_spec(self) -> str:
        """Spec of the report; its templates and the published values count as code."""
        files = [*sorted(TEMPLATES.iterdir()), VALUES]
        kinds = [f"tables.{table}" for _, table in self.shown.tables]
        kinds += [f"figures.{figure}" for _, figure in self.shown.figures]
        return self._output_spec("stages.report", *kinds, templates=[sha256_file(file) for file in files])

    def _output_spec(self, *modules: str, **more: Any) -> str:
        labels = spec_hash(canonical(self.shown.labels()))
        # What is drawn, which cells are in it, and what suites say of their numbers.
        suites = {self.config.suites[suite].suite for study in self.studies.values() for suite in study.all_suites}
        code = {module: fingerprint(f"prunebench.{module}") for module in (*modules, "plan.outputs")}
        numbers = spec_hash(canonical([fingerprint(f"prunebench.suites.{suite}") for suite in sorted(suites)]))
        shared = {"code": code, "suites": numbers, "labels": labels, "config": self.raw, "file": self.file}
        return canonical(shared | more)

    def suite_assets(self, suite: str) -> tuple[str, ...]:
        """What a suite (by catalog name) reads besides the model, as corpora/c4_type; in the order of its spec."""
        return tuple(sorted(configured("suites", self.config.suites[suite]).assets))

    def method_assets(self, method: str) -> tuple[str, ...]:
        """The same for a method."""
        return tuple(sorted(configured("methods", self.config.methods[method]).assets))


def load_plan(raw: dict[str, Any], file: str = "config/config.yaml", catalog: Path = CATALOG) -> Plan:
    """Validate a parsed config and expand its studies. Raises PrunebenchError with every mistake found."""
    config = load_config(raw, file, catalog)
    # What is kept changes no number, so it is in no spec: nothing runs again for it.
    raw = {key: value for key, value in raw.items() if key != "keep_weights"}
    return Plan(raw, file, config, {name: expand(config, name, file) for name in config.studies})


def read_plan(file: Path = CONFIG) -> Plan:
    """The plan of a config file, as snakemake --configfile makes it. Raises PrunebenchError."""
    # Relative, as in the Snakefile: the name is part of specs.
    return load_plan(read_config(file), os.path.relpath(file))


def _key(wildcards: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(wildcards[key]) for key in ("model", "method", "allocator", "point", "calibration", "seed"))


def _shape(entry: ModelEntry) -> Shape | None:
    try:
        return model_shape(entry)
    except PrunebenchError:
        return None  # a local model that cannot be read yet: fetch_model says why
