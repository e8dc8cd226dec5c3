"""A plan: the cells of a config's studies and the jobs that compute them. The Snakefile works from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prunebench.cell import Cell
from prunebench.config.packaged import label, resource
from prunebench.config.schema import CATALOG, CONFIG, Config, read_config
from prunebench.config.sources import TrainedSource
from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.checks import load_config
from prunebench.plan.grid import Expansion, allocation_form, check_number, expand_grid
from prunebench.plan.in_place import with_entries
from prunebench.plan.jobs import rule_class, rules
from prunebench.plan.jobs.base import Job
from prunebench.plan.outputs import Shown
from prunebench.plugin import Search

FETCH = {"models": ("fetch_model", "model"), "corpora": ("fetch_corpus", "corpus"), "tasks": ("fetch_tasks", "tasks")}
"""The rule that fetches an asset of each kind, and the wildcard for its catalog name."""


@dataclass(frozen=True)
class Plan:
    """Everything that follows from one config. To make it, only the config and its catalogs are read."""

    raw: dict[str, Any]
    file: str
    config: Config
    studies: dict[str, Expansion]
    given: Mapping[str, str] = field(default_factory=dict)
    """The spec of each rule whose output the user gives in place of its jobs, by the name of the rule."""

    @cached_property
    def shown(self) -> Shown:
        """The tables and figures, and the cells in each."""
        return Shown(self.config, self.studies)

    @property
    def home(self) -> str:
        """The directory of everything that is made of this config alone."""
        return paths.home(self.file)

    @cached_property
    def cells(self) -> dict[Cell, None]:
        """All distinct cells of all studies. A cell that two studies share is computed once."""
        return {cell: None for study in self.studies.values() for cell in study.cells}

    @cached_property
    def _jobs(self) -> dict[tuple[str, ...], Job]:
        return {}

    def job(self, rule: str, **wildcards: Any) -> Job:
        """The job of `rule` for `wildcards`, which may have more names than the rule. Equal jobs are one object."""
        kind = rule_class(rule)
        key = kind.key_of(wildcards)
        if key not in self._jobs:
            self._jobs[key] = kind(self, wildcards)
        return self._jobs[key]

    def asset(self, asset: str) -> Job:
        """The job that fetches `asset`, which is kind and catalog name, as in corpora/c4_type."""
        kind, name = asset.split("/")
        rule, wildcard = FETCH[kind]
        return self.job(rule, **{wildcard: name})

    def search(self, search: Search) -> Job:
        """The job whose result `search` means: that of one seed, or the best of all seeds."""
        if search.seed is None:
            return self.job("gather_search", search=search.name)
        return self.job("search_allocation", search=search.name, seed=search.seed)

    @cached_property
    def wanted(self) -> list[Job]:
        """The jobs that a run of the plan is for, which `Job.wanted` of each rule names."""
        return [self.job(name, **wildcards) for name, rule in rules().items() for wildcards in rule.wanted(self)]

    @property
    def trains(self) -> bool:
        """Whether a study has a model that is trained here."""
        searches = [search for study in self.config.studies.values() for search in study.searches]
        models = {cell.model for cell in self.cells} | {self.config.searches[name].model for name in searches}
        return any(isinstance(self.config.models[name].source, TrainedSource) for name in models)

    def allocation(self, cell: Cell) -> Job:
        """The job that decides the sparsity of each linear of `cell`. Several cells share it."""
        return self.job("allocate", **allocation_form(self.config, cell).wildcards)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The wildcards of every evaluation of the studies, each once."""
        wildcards = {
            (cell, suite): {**cell.wildcards, "suite": suite}
            for study in self.studies.values()
            for cell in study.cells
            for suite in study.suites[cell]
        }
        return list(wildcards.values())


def load_plan(raw: dict[str, Any], file: str = "config/config.yaml", catalog: Path = CATALOG) -> Plan:
    """Validate a parsed config and expand its studies. Raises PrunebenchError with every mistake found."""
    raw = with_entries(raw, file)
    config = load_config(raw, file, catalog)
    if not config.studies:
        raise PrunebenchError(f"{file}: 'studies' is missing: a config names at least one study")
    check_number(config, file)
    # These keys change no number. Without them in specs, no job runs again for them.
    raw = {key: value for key, value in raw.items() if key not in ("keep_weights", "max_cells")}
    return Plan(raw, file, config, {name: expand_grid(config, name, file) for name in config.studies})


def plan_of(spec: str) -> Plan:
    """The plan from which `spec` was made, the spec of a job that gathers or shows all cells."""
    fields = json.loads(spec)
    return load_plan(fields["config"], fields["file"])


def read_plan(file: Path = CONFIG) -> Plan:
    """The plan of a config file, as snakemake --configfile makes it. Raises PrunebenchError with every mistake."""
    # The name is part of specs, so it is relative, as in the Snakefile.
    return load_plan(read_config(file), label(resource(file)))


def project_plan(file: Path = CONFIG) -> Plan:
    """The plan of a config file of the project in the working directory, for commands that look at its results.

    Raises PrunebenchError like `read_plan` and `check_project`.
    """
    check_project(file)
    return read_plan(file)


def check_project(file: Path = CONFIG) -> None:
    """Raise PrunebenchError if `file` is the default config and there is neither that file nor a result.

    A user who is in another directory by mistake should not read that every cell is missing.
    """
    if file == CONFIG and not CONFIG.exists() and not Path(paths.HOME).is_dir():
        raise PrunebenchError(
            f"there is no {CONFIG.absolute()}: this command needs a project; run it where you run snakemake, name a "
            "config with --configfile, or begin a project with `prunebench init DIR`"
        )
