"""What a config's studies show: their tables and figures, and which cells, suites and searches are in each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from prunebench import registry
from prunebench.cell import Cell
from prunebench.config.schema import ASKED, Config, calibration_parts, configured
from prunebench.plan import paths
from prunebench.plan.grid import Expansion, allocation_form, allocator_of, method_of, search_used
from prunebench.published.match import Match, matches

FIGURES = ("perplexity", "calibration", "allocation", "search", "agreement", "reconstruction", "convergence", "cost")
SHARED = {**ASKED, "published": ("perplexity", "zeroshot")}
"""By table, the tables that suites give rise to, whose scores it shows; others show those of their own suites."""


@dataclass(frozen=True)
class Shown:
    """All that is made from results/cells.csv for people to read."""

    config: Config
    studies: Mapping[str, Expansion]

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
        makers = SHARED.get(table, (table,))
        return [suite for suite in self.studies[study].all_suites if self._table(suite) in makers]

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
        cells = self.studies[study].cells
        if figure == "reconstruction":
            return [cell for cell in cells if "calibration" in method_of(self.config, cell).uses]
        if figure == "convergence":
            return [cell for cell in cells if method_of(self.config, cell).iterative]
        if figure == "allocation":
            return self._allotted(cells)
        measured = self._measured(study)
        if figure == "agreement":
            promised = [cell for cell in measured if self._promised(cell)]
            # Of two points any ranking is right or wrong by chance.
            return promised if len({cell.allocator for cell in promised}) > 2 else []
        sized = of_several_sizes(measured)
        if figure == "calibration":
            return sized
        # At a single sparsity, a figure against sparsity would say less than the one against samples.
        single = figure == "perplexity" and sized and len({cell.point for cell in measured}) == 1
        return [] if single else measured

    def _measured(self, study: str) -> list[Cell]:
        """The pruned cells of a study whose perplexity is measured."""
        of, suites = self.studies[study], set(self.suites_of(study, "perplexity"))
        return [cell for cell in of.cells if cell.method != "dense" and suites.intersection(of.suites[cell])]

    def _allotted(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those of `cells` whose layers may differ in sparsity; none if no allocator makes them differ."""
        cells = [
            cell for cell in cells if "allocator" in method_of(self.config, cell).uses and not cell.shape.structured
        ]
        # What serves n:m patterns too decides nothing: alone it would be a flat line.
        return cells if any(not allocator_of(self.config, cell).structured for cell in cells) else []

    def _promised(self, cell: Cell) -> bool:
        """Whether a search has judged what allots `cell`, on the same model, all of it, and at the same sparsity."""
        whole = self.config.allocators[cell.allocator].layers == "all" and not cell.shape.structured
        search = search_used(self.config, allocation_form(self.config, cell)) if whole else None
        entry = self.config.searches[search.name] if search else None
        return entry is not None and (entry.model, entry.sparsity) == (cell.model, cell.sparsity)

    def searches(self, study: str) -> list[tuple[str, int]]:
        """(search, seed) of every run of the searches that a study shows."""
        names = dict.fromkeys(self.config.studies[study].searches)
        return [(name, seed) for name in names for seed in self.config.searches[name].seeds]

    def search_files(self, study: str, figure: str = "search") -> list[str]:
        """The results of those runs: what `figure` reads besides results/cells.csv."""
        runs = self.searches(study) if figure == "search" else []
        return [paths.SEARCH.format(search=name, seed=seed) for name, seed in runs]

    @property
    def search_results(self) -> list[str]:
        """The same for all studies: what the report reads."""
        return list(dict.fromkeys(file for study in self.studies for file in self.search_files(study)))

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
        """What tables and figures print for an entry of a catalog, such as methods/wanda: kinds may share names."""
        labels = {f"models/{name}": model.title for name, model in self.config.models.items()}
        labels |= {f"corpora/{name}": corpus.title for name, corpus in self.config.corpora.items()}
        labels |= {f"searches/{name}": search.title or name for name, search in self.config.searches.items()}
        labels |= {f"suites/{name}": suite.title for name, suite in self.config.suites.items() if suite.title}
        bundles = self.config.tasks.values()
        labels |= {f"tasks/{task}": data.title for of in bundles for task, data in of.tasks.items() if data.title}
        for kind in ("methods", "allocators"):
            for name, entry in getattr(self.config, kind).items():
                plugin = configured(kind, entry)
                own = plugin.title if name == plugin.name else f"{plugin.title} ({name})"
                labels[f"{kind}/{name}"] = entry.title or own
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
