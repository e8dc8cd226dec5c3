"""The tables and figures of a config's studies, and the cells, suites and searches that each of them shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from prunebench import registry
from prunebench.cell import Cell
from prunebench.config.schema import Config, configured
from prunebench.plan.grid import Expansion
from prunebench.published.match import Match, matches

if TYPE_CHECKING:
    from prunebench.figures.base import StudyFigure
    from prunebench.suites.base import Suite


@dataclass(frozen=True)
class Shown:
    """The tables and figures that are made from results/cells.csv for people to read."""

    config: Config
    studies: Mapping[str, Expansion]

    @cached_property
    def tables(self) -> list[tuple[str, str]]:
        """The pairs (study, table) of all tables.

        A study has the tables that its suites name, then the tables that it asks for, then the tables that decide by
        themselves that they belong to it, as published values do where there are any.
        """
        pairs: list[tuple[str, str]] = []
        for study, expansion in self.studies.items():
            tables = [self._suite(suite).table for suite in expansion.all_suites]
            tables += self.config.studies[study].tables
            tables += [name for name in registry.names("tables") if registry.load("tables", name).belongs(self, study)]
            pairs += [(study, table) for table in dict.fromkeys(tables)]
        return pairs

    def published(self, study: str, cell: Cell, suite: str) -> list[Match]:
        """The published values that a study shows beside the scores of `suite` on `cell`."""
        sources = self.config.studies[study].published
        comparable = matches(self.config, cell, suite)
        return [match for match in comparable if not sources or match.value.source in sources]

    def suites_of(self, study: str, table: str) -> list[str]:
        """The suites of a study (catalog names) that `table` shows."""
        shows = registry.load("tables", table).shows
        return [suite for suite in self.studies[study].all_suites if shows(self._suite(suite))]

    def measuring(self, study: str, metrics: Iterable[str]) -> list[str]:
        """The suites of a study (catalog names) that measure one of `metrics`."""
        metrics = set(metrics)
        suites = self.studies[study].all_suites
        return [name for name in suites if metrics & {metric.name for metric in self._suite(name).metrics}]

    def measured(self, study: str, metrics: Iterable[str]) -> list[Cell]:
        """The pruned cells of a study on which one of `metrics` is measured."""
        expansion, suites = self.studies[study], set(self.measuring(study, metrics))
        cells = (cell for cell in expansion.cells if cell.method not in self.baselines)
        return [cell for cell in cells if suites.intersection(expansion.suites[cell])]

    @cached_property
    def baselines(self) -> frozenset[str]:
        """The methods (catalog names) that leave the model as it is."""
        methods = self.config.methods.items()
        return frozenset(name for name, entry in methods if registry.load("methods", entry.method).baseline)

    def _suite(self, suite: str) -> type[Suite]:
        plugin: type[Suite] = registry.load("suites", self.config.suites[suite].suite)
        return plugin

    @cached_property
    def figures(self) -> list[tuple[str, str]]:
        """The pairs (study, figure) of all figures that have something to show."""
        kinds = sorted((registry.load("figures", name) for name in registry.names("figures")), key=_place)
        return [
            (study, kind.name)
            for study in self.studies
            for kind in kinds
            if kind.cells(self, study) or kind.searches(self, study)
        ]

    def searches_drawn(self, study: str, figure: str) -> list[tuple[str, int]]:
        """The pairs (search, seed) of the runs of searches whose results a figure reads."""
        runs: list[tuple[str, int]] = registry.load("figures", figure).searches(self, study)
        return runs

    def searches(self, study: str) -> list[tuple[str, int]]:
        """The pairs (search, seed) of all runs of the searches that a study shows."""
        names = dict.fromkeys(self.config.studies[study].searches)
        return [(name, seed) for name in names for seed in self.config.searches[name].seeds]

    def labels(self) -> dict[str, str]:
        """The label that tables and figures print for an entry, by kind and catalog name (methods/wanda)."""
        labels = {f"models/{name}": model.title for name, model in self.config.models.items()}
        labels |= {f"corpora/{name}": corpus.title for name, corpus in self.config.corpora.items()}
        labels |= {f"searches/{name}": search.title or name for name, search in self.config.searches.items()}
        labels |= {f"suites/{name}": suite.title for name, suite in self.config.suites.items() if suite.title}
        labels |= {f"studies/{name}": study.title for name, study in self.config.studies.items() if study.title}
        bundles = self.config.tasks.values()
        rows = [task for bundle in bundles for task in bundle.tasks.items()]
        labels |= {f"tasks/{task}": data.title for task, data in rows if data.title}
        for kind in ("methods", "allocators"):
            for name, entry in getattr(self.config, kind).items():
                plugin = configured(kind, entry)
                own = plugin.title if name == plugin.name else f"{plugin.title} ({name})"
                labels[f"{kind}/{name}"] = entry.title or own
        return labels

    def computations(self) -> dict[str, tuple[str, str, str]]:
        """The tuple (first name, dtype, settings) of each calibrated method, by its catalog name.

        Methods with equal plug-in and parameters share a first name: the name that comes first in the catalog.
        """
        first: dict[str, str] = {}
        computations: dict[str, tuple[str, str, str]] = {}
        for name, entry in self.config.methods.items():
            method = configured("methods", entry)
            if "calibration" in method.uses:
                compute = entry.compute or self.config.compute
                same = first.setdefault(f"{entry.method} {method.params}", name)
                computations[name] = (same, compute.dtype, str(compute))
        return computations


def _place(figure: type[StudyFigure]) -> tuple[int, str]:
    return figure.order, figure.name
