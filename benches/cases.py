"""What is timed: the cells and suites of a study in study.yaml, each once plain and once per dtype of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benches import agreement, commands
from benches.agreement import Agreement
from benches.commands import Job
from prunebench import paths
from prunebench.catalog import Compute
from prunebench.cells import Cell
from prunebench.config import calibration_parts, configured
from prunebench.plan import Plan

PLAIN = "plain"
JUDGED = 4
"""Windows of each corpus by which pruned weights are judged."""


@dataclass
class Case:
    """One piece of work, and the jobs that do it: the plain one first, then ours by dtype."""

    title: str
    counted: str
    """What it is to floor.py."""
    tokens: int
    seqlen: int
    agree: Callable[[Job, Job], Agreement]
    """(plain job, our job), when both are done."""
    jobs: dict[str, Job] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """A study of the plan, and a directory for what the plain jobs write."""

    plan: Plan
    study: str
    work: Path

    @property
    def dense(self) -> Cell:
        """The cell of the unpruned model."""
        return next(cell for cell in self.plan.studies[self.study].cells if cell.method == "dense")

    @property
    def model(self) -> Path:
        """The directory of the model."""
        return Path(paths.MODEL.format(model=self.dense.model)).parent

    @property
    def suites(self) -> list[str]:
        """The study's perplexity suites: one protocol, several dtypes."""
        return self.plan.suites_of(self.study, "perplexity")

    @property
    def inputs(self) -> list[str]:
        """What the DAG must make before anything is timed."""
        tokens = [file for cell in self.plan.studies[self.study].cells for file in self.plan.tokens(cell)]
        assets = [paths.ASSET.format(asset=asset) for suite in self.suites for asset in self.plan.suite_assets(suite)]
        return sorted({*tokens, *assets, paths.PRUNED.format(**self.dense.wildcards)})

    def cases(self) -> Iterator[Case]:
        """All of them."""
        yield from self._prune_cases()
        yield self._perplexity_case()

    def _prune_cases(self) -> Iterator[Case]:
        """One per method and calibration set."""
        cases: dict[tuple[str, str], Case] = {}
        for cell in self.plan.studies[self.study].cells:
            if cell != self.dense:
                entry = self.plan.config.methods[cell.method]
                key = entry.method, cell.calibration
                case = cases.setdefault(key, self._prune_case(entry.method, cell))
                _add(case, entry.compute, paths.PRUNED, paths.PRUNE_MEASURED, cell.wildcards)
        yield from cases.values()

    def _prune_case(self, method: str, cell: Cell) -> Case:
        _, samples, seqlen = calibration_parts(cell.calibration)
        plain = commands.plain(
            "prune",
            self.work / f"{method}_{cell.calibration}.safetensors",
            model=self.model,
            method=method,
            sparsity=cell.sparsity,
            tokens=self.plan.tokens(cell)[0],
        )
        agree = partial(agreement.pruning, self.model, partial(self._plain_perplexity, windows=JUDGED))
        return Case(f"{method}, {samples} x {seqlen}", method, samples * seqlen, seqlen, agree, {PLAIN: plain})

    def _perplexity_case(self) -> Case:
        params = configured("suites", self.plan.config.suites[self.suites[0]]).params
        title = f"perplexity, {len(params.corpora)} x {params.windows} x {params.seqlen}"
        tokens = len(params.corpora) * params.windows * params.seqlen
        case = Case(title, "perplexity", tokens, params.seqlen, agreement.perplexity, {PLAIN: self._plain_perplexity()})
        for suite in self.suites:
            where = {**self.dense.wildcards, "suite": suite}
            _add(case, self.plan.config.suites[suite].compute, paths.EVALUATION, paths.EVALUATION_MEASURED, where)
        return case

    def _plain_perplexity(self, weights: Path | None = None, windows: int | None = None) -> Job:
        """Of the model with `weights` in place of its own, on all of the suite's windows or the first few."""
        suite = self.suites[0]
        params = configured("suites", self.plan.config.suites[suite]).params
        return commands.plain(
            "perplexity",
            (weights or self.work / "dense").with_suffix(".json"),
            model=self.model,
            corpora=[Path(paths.ASSET.format(asset=asset)).parent for asset in self.plan.suite_assets(suite)],
            windows=windows or params.windows,
            seqlen=params.seqlen,
            **({"weights": weights} if weights else {}),
        )


def _add(case: Case, compute: Compute | None, result: str, measured: str, wildcards: dict[str, object]) -> None:
    assert compute is not None, "study.yaml gives each method and suite its own dtype"
    case.jobs[compute.dtype] = commands.ours(result.format(**wildcards), measured.format(**wildcards))
