"""A config made concrete: its studies' cells, and the spec of every job. What the Snakefile and `collect` work from."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prunebench import paths, registry
from prunebench.allocators.base import Search
from prunebench.assets.sources import local_files
from prunebench.assets.tasks import local_row_files
from prunebench.canonical import canonical, spec_hash
from prunebench.catalog import ModelEntry, Shape, TrainedSource
from prunebench.cells import (
    NO_CALIBRATION,
    Cell,
    Expansion,
    allocation_form,
    expand,
    model_shape,
    reads_profile,
    runs_model,
)
from prunebench.config import (
    ASKED,
    CATALOG,
    CONFIG,
    Config,
    calibration_corpus,
    calibration_parts,
    configured,
    load_config,
    read_config,
)
from prunebench.errors import PrunebenchError
from prunebench.files import sha256_file
from prunebench.fingerprint import fingerprint
from prunebench.published.match import Match, matches
from prunebench.published.values import VALUES
from prunebench.resources import Work
from prunebench.spec import Specs

FIGURES = ("perplexity", "calibration", "allocation", "search", "agreement", "reconstruction", "convergence", "cost")
SHOWN = {**ASKED, "published": ("perplexity", "zeroshot")}
"""By table, the tables that suites give rise to, whose scores it shows; others show those of their own suites."""
TEMPLATES = Path(__file__).parent / "report/template"


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
        if "calibration" in self._method(cell).uses:
            return [paths.TOKENS.format(**cell.wildcards)]
        return []

    def profile(self, point: Cell) -> list[str]:
        """The profile that the allocation of `point` (in `allocation_form`) reads, if its allocator looks at data."""
        return [paths.PROFILE.format(**point.wildcards)] if reads_profile(self.config, point) else []

    def allocator_tokens(self, point: Cell) -> list[str]:
        """The token file that the allocation of `point` (in `allocation_form`) reads: its allocator runs the model."""
        return [paths.TOKENS.format(**point.wildcards)] if runs_model(self.config, point) else []

    def search(self, point: Cell) -> Search | None:
        """The search whose result the allocation of `point` uses, if its allocator uses one."""
        allocator = configured("allocators", self.config.allocators[point.allocator])
        search: Search | None = allocator.search(point.sparsity)
        return search

    def search_runs(self, point: Cell) -> list[tuple[str, int]]:
        """(search, seed) of every run that this result rests on."""
        search = self.search(point)
        return [(search.name, seed) for seed in self.config.seeds(search)] if search else []

    def found(self, point: Cell) -> list[str]:
        """The file of that result."""
        search = self.search(point)
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
        return [paths.GRADIENTS.format(**cell.wildcards)] if self._method(cell).needs_gradients else []

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

    @cached_property
    def tables(self) -> list[tuple[str, str]]:
        """(study, table) for every table that a study's suites give rise to, then those that it asks for.

        Last, if anybody has published a number of any of its cells, those beside ours.
        """
        made: list[tuple[str, str]] = []
        for study, of in self.studies.items():
            made += [(study, self._table(suite)) for suite in of.all_suites]
            made += [(study, table) for table in self.config.studies[study].tables]
            if any(self.published(study, cell, suite) for cell in of.cells for suite in of.suites[cell]):
                made.append((study, "published"))
        return list(dict.fromkeys(made))

    def published(self, study: str, cell: Cell, suite: str) -> list[Match]:
        """The published values that a study shows beside what `suite` measures of `cell`."""
        sources = self.config.studies[study].published
        found = matches(self.config, cell, suite)
        return [match for match in found if not sources or match.value.source in sources]

    def suites_of(self, study: str, table: str) -> list[str]:
        """The suites of a study (catalog names) that `table` shows."""
        shown = SHOWN.get(table, (table,))
        return [suite for suite in self.studies[study].all_suites if self._table(suite) in shown]

    def _table(self, suite: str) -> str:
        table: str = registry.load("suites", self.config.suites[suite].suite).table
        return table

    def table_files(self, study: str, table: str) -> list[str]:
        """A table in all its formats, Markdown first."""
        return [paths.TABLE.format(study=study, table=table, format=format) for format in paths.TABLE_FORMATS]

    @property
    def figures(self) -> list[tuple[str, str]]:
        """(study, figure) for every figure that has something to show."""
        return [(study, figure) for study in self.studies for figure in FIGURES if self._shows(study, figure)]

    def _shows(self, study: str, figure: str) -> bool:
        return bool(self.search_files(study) if figure == "search" else self.figure_cells(study, figure))

    def figure_cells(self, study: str, figure: str) -> list[Cell]:
        """The cells of a study that `figure` draws."""
        expansion = self.studies[study]
        if figure in ("perplexity", "calibration", "cost", "agreement"):
            suites = set(self.suites_of(study, "perplexity"))
            cells = [cell for cell in expansion.cells if cell.method != "dense" and suites & {*expansion.suites[cell]}]
            if figure == "agreement":
                promised = [cell for cell in cells if self._promised(cell)]
                # Of two points any ranking is right or wrong by chance.
                return promised if len({cell.allocator for cell in promised}) > 2 else []
            sized = of_several_sizes(cells)
            # At a single sparsity, a figure against sparsity would say less than the one against samples.
            if figure == "perplexity" and sized and len({cell.point for cell in cells}) == 1:
                return []
            return sized if figure == "calibration" else cells
        if figure == "reconstruction":
            return [cell for cell in expansion.cells if "calibration" in self._method(cell).uses]
        if figure == "convergence":
            return [cell for cell in expansion.cells if self._method(cell).iterative]
        cells = [cell for cell in expansion.cells if "allocator" in self._method(cell).uses]
        cells = [cell for cell in cells if not cell.shape.structured]
        # What serves n:m patterns too decides nothing: alone it would be a flat line.
        deciding = any(
            not configured("allocators", self.config.allocators[cell.allocator]).structured for cell in cells
        )
        return cells if deciding else []

    def _promised(self, cell: Cell) -> bool:
        """Whether a search has judged what allots `cell`, on the same model, all of it, and at the same sparsity."""
        whole = self.config.allocators[cell.allocator].layers == "all" and not cell.shape.structured
        search = self.search(allocation_form(self.config, cell)) if whole else None
        entry = self.config.searches[search.name] if search else None
        return entry is not None and (entry.model, entry.sparsity) == (cell.model, cell.sparsity)

    def searches(self, study: str) -> list[tuple[str, int]]:
        """(search, seed) of every run of the searches that a study shows."""
        shown = self.config.studies[study].searches
        return [(name, seed) for name in dict.fromkeys(shown) for seed in self.config.searches[name].seeds]

    def search_files(self, study: str, figure: str = "search") -> list[str]:
        """The results of those runs: what `figure` reads besides results/cells.csv."""
        runs = self.searches(study) if figure == "search" else []
        return [paths.SEARCH.format(search=name, seed=seed) for name, seed in runs]

    @property
    def search_results(self) -> list[str]:
        """The same for all studies: what the report reads."""
        return list(dict.fromkeys(file for study in self.studies for file in self.search_files(study)))

    def _method(self, cell: Cell) -> Any:
        return configured("methods", self.config.methods[cell.method])

    def figure_files(self, study: str, figure: str) -> list[str]:
        """A figure in all its formats, svg first."""
        return [paths.FIGURE.format(study=study, figure=figure, format=format) for format in paths.FIGURE_FORMATS]

    @property
    def outputs(self) -> list[str]:
        """All that is made from results/cells.csv for people to read."""
        tables = [path for study, table in self.tables for path in self.table_files(study, table)]
        figures = [path for study, figure in self.figures for path in self.figure_files(study, figure)]
        return [*tables, *figures, paths.REPORT]

    def labels(self) -> dict[str, str]:
        """What tables and figures print for a catalog name; kinds that share names with others stand in front."""
        labels = {name: model.title for name, model in self.config.models.items()}
        labels |= {f"corpora/{name}": corpus.title for name, corpus in self.config.corpora.items()}
        labels |= {f"searches/{name}": search.title or name for name, search in self.config.searches.items()}
        labels |= {name: suite.title for name, suite in self.config.suites.items() if suite.title}
        bundles = self.config.tasks.values()
        labels |= {f"tasks/{task}": data.title for of in bundles for task, data in of.tasks.items() if data.title}
        for kind in ("methods", "allocators"):
            for name, entry in getattr(self.config, kind).items():
                plugin = configured(kind, entry)
                labels[name] = entry.title or (plugin.title if name == plugin.name else f"{plugin.title} ({name})")
        return labels

    def computations(self) -> dict[str, tuple[str, str, str]]:
        """For each calibrated method: the first catalog name of the same work, its dtype, and how it computes."""
        first: dict[str, str] = {}
        found: dict[str, tuple[str, str, str]] = {}
        for name, entry in self.config.methods.items():
            method = configured("methods", entry)
            if "calibration" in method.uses:
                compute = entry.compute or self.config.compute
                same = first.setdefault(f"{entry.method} {method.params}", name)
                found[name] = (same, compute.dtype, str(compute))
        return found

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

    def table_spec(self) -> str:
        """Spec of the tables; the published values count as code."""
        return self._output_spec("tables", published=sha256_file(VALUES))

    def figure_spec(self) -> str:
        """Spec of the figures."""
        return self._output_spec("figures")

    def report_spec(self) -> str:
        """Spec of the report; its templates and the published values count as code."""
        files = [*sorted(TEMPLATES.iterdir()), VALUES]
        return self._output_spec("report", templates=[sha256_file(file) for file in files])

    def _output_spec(self, stage: str, **more: Any) -> str:
        labels = spec_hash(canonical(self.labels()))
        code = fingerprint(f"prunebench.stages.{stage}")
        return canonical({"code": code, "labels": labels, "config": self.raw, "file": self.file, **more})

    def suite_assets(self, suite: str) -> tuple[str, ...]:
        """What a suite (by catalog name) reads besides the model, as corpora/c4_type; in the order of its spec."""
        return tuple(sorted(configured("suites", self.config.suites[suite]).assets))

    def method_assets(self, method: str) -> tuple[str, ...]:
        """The same for a method."""
        return tuple(sorted(configured("methods", self.config.methods[method]).assets))


def of_several_sizes(cells: Iterable[Cell]) -> list[Cell]:
    """Those of `cells` beside which there are others that differ in the number of calibration samples, seeds apart.

    Samples are the same only if corpus and length are.
    """
    sizes: dict[tuple[object, ...], dict[Cell, int]] = {}
    for cell in cells:
        if cell.calibrated:
            corpus, samples, seqlen = calibration_parts(cell.calibration)
            key = (cell.model, cell.method, cell.allocator, cell.point, corpus, seqlen)
            sizes.setdefault(key, {})[cell] = samples
    return [cell for of in sizes.values() if len({*of.values()}) > 1 for cell in of]


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
