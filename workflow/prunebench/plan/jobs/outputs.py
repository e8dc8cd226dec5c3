"""The jobs that gather all valid results into one table, and make tables, figures and the report from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from prunebench.config.values import is_none
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.identity.fingerprint import fingerprint
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job, Need, Output, Spec
from prunebench.published.values import VALUES
from prunebench.storage.files import sha256_file

if TYPE_CHECKING:
    from prunebench.plan.plan import Plan

TEMPLATES = Path(__file__).parents[2] / "report/template"


class CollectSpec(Spec):
    """The config from which the stage makes its plan, and a digest of the cells that it expects."""

    config: dict[str, Any]
    file: str
    """The name of the config file, for messages."""
    cells: str


class Collect(Job):
    """Gather every result of the studies into one tidy CSV."""

    rule = "collect"
    subject_pattern = "cells"
    writes: ClassVar = {"cells": paths.CELLS}

    @classmethod
    def wanted(cls, plan: Plan) -> Iterable[Mapping[str, Any]]:
        """The empty wildcards of the only job."""
        return [{}]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The results of all evaluations."""
        return {"evaluations": [self.plan.job("evaluate", **point).output() for point in self.plan.evaluations]}

    def _spec(self) -> str:
        studies = self.plan.studies.values()
        cells = canonical([[str(cell) for cell in study.cells] + [*map(str, study.skipped)] for study in studies])
        code = fingerprint("prunebench.stages.collect")
        return CollectSpec(code=code, config=self.plan.raw, file=self.plan.file, cells=spec_hash(cells)).text


class ShownSpec(Spec):
    """Everything, apart from the numbers, that decides how tables, figures or the report look."""

    suites: str
    """A digest of the code of the suites, which says how their numbers are printed."""
    labels: str
    config: dict[str, Any]
    file: str
    """The name of the config file, for messages."""
    published: str | None = Field(None, exclude_if=is_none)
    """A digest of the published values, which count as code."""
    templates: list[str] | None = Field(None, exclude_if=is_none)
    """Digests of the report's templates and of the published values."""


class Shown(Job):
    """Base class of the jobs that make files for people to read."""

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The table of all cells."""
        return {"cells": self.plan.job("collect").output()}

    def _spec(self) -> str:
        plan = self.plan
        # The spec has the code that draws, and the code that decides which cells are shown.
        modules = (f"stages.{self.rule}", *self._plugins(), "plan.outputs")
        names = {plan.config.suites[suite].suite for study in plan.studies.values() for suite in study.all_suites}
        suites = [fingerprint(f"prunebench.suites.{name}") for name in sorted(names)]
        return ShownSpec(
            code={module: fingerprint(f"prunebench.{module}") for module in modules},
            suites=spec_hash(canonical(suites)),
            labels=spec_hash(canonical(plan.shown.labels())),
            config=plan.raw,
            file=plan.file,
            **self._files(),
        ).text

    def _plugins(self) -> list[str]:
        """The modules of the plug-ins that make the output."""
        return []

    def _files(self) -> dict[str, Any]:
        """Digests of files that count as code."""
        return {}

    def _searches(self, figures: Iterable[tuple[str, str]]) -> list[Output]:
        """The results of the searches that `figures`, which are pairs (study, figure), read."""
        runs = dict.fromkeys(run for figure in figures for run in self.plan.shown.searches_drawn(*figure))
        return [self.plan.job("search_allocation", search=name, seed=seed).output() for name, seed in runs]


class Tables(Shown):
    """Write one table of one study in all its formats."""

    rule = "tables"
    subject_pattern = "{study}-{table}"
    writes: ClassVar = {format: paths.TABLE.replace("{format}", format) for format in paths.TABLE_FORMATS}

    @classmethod
    def wanted(cls, plan: Plan) -> Iterable[Mapping[str, Any]]:
        """The wildcards of the tables of all studies."""
        return ({"study": study, "table": table} for study, table in plan.shown.tables)

    def _plugins(self) -> list[str]:
        return [f"tables.{self.wildcards['table']}"]

    def _files(self) -> dict[str, Any]:
        return {"published": sha256_file(VALUES)}


class Figures(Shown):
    """Write one figure of one study in all its formats."""

    rule = "figures"
    subject_pattern = "{study}-{figure}"
    writes: ClassVar = {format: paths.FIGURE.replace("{format}", format) for format in paths.FIGURE_FORMATS}

    @classmethod
    def wanted(cls, plan: Plan) -> Iterable[Mapping[str, Any]]:
        """The wildcards of the figures of all studies."""
        return ({"study": study, "figure": figure} for study, figure in plan.shown.figures)

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The table of all cells, and the results of the searches that the figure shows."""
        figure = (self.wildcards["study"], self.wildcards["figure"])
        return {**super().needs, "searches": self._searches([figure])}

    def _plugins(self) -> list[str]:
        return [f"figures.{self.wildcards['figure']}"]


class Report(Shown):
    """Write the report of all studies of a config."""

    rule = "report"
    subject_pattern = "index"
    writes: ClassVar = {"page": paths.REPORT}

    @classmethod
    def wanted(cls, plan: Plan) -> Iterable[Mapping[str, Any]]:
        """The empty wildcards of the only job."""
        return [{}]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The table of all cells, the results of the searches that studies show, and the figures that it contains."""
        drawn = [self.plan.job("figures", study=study, figure=figure) for study, figure in self.plan.shown.figures]
        return {
            **super().needs,
            "searches": self._searches(self.plan.shown.figures),
            "figures": [job.output("svg") for job in drawn],
        }

    def _plugins(self) -> list[str]:
        shown = self.plan.shown
        kinds = [f"tables.{table}" for _, table in shown.tables]
        return kinds + [f"figures.{figure}" for _, figure in shown.figures]

    def _files(self) -> dict[str, Any]:
        return {"templates": [sha256_file(file) for file in (*sorted(TEMPLATES.iterdir()), VALUES)]}


class Strict(Job):
    """Fail if any cell has no result."""

    rule = "strict"
    subject_pattern = "all"

    @classmethod
    def wanted(cls, plan: Plan) -> Iterable[Mapping[str, Any]]:
        """The empty wildcards of the only job. It writes no file, so only the target `strict` runs it."""
        return [{}]

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The table of all cells."""
        return {"cells": self.plan.job("collect").output()}

    def _spec(self) -> str:
        return self.plan.job("collect").spec
