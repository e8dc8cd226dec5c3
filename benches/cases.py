"""The timed cases: the cells and suites of a study in study.yaml, each once plain and once in each of our dtypes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benches import agreement, commands
from benches.agreement import Agreement
from benches.commands import Job
from prunebench.cell import Cell
from prunebench.config.schema import calibration_parts, configured
from prunebench.plan import paths
from prunebench.plan.graph import chain, ordered
from prunebench.plan.plan import Plan
from prunebench.storage.files import read_json

PLAIN = "plain"
JUDGED = 4
"""The number of windows of each corpus on which pruned weights are judged."""


@dataclass
class Case:
    """One piece of work, and the jobs that do it: the plain one, and ours by dtype."""

    title: str
    counted: str
    """The name that floor.py has for the work."""
    size: Callable[[], tuple[int, float]]
    """(tokens, tokens a sequence), known when the plain job is done."""
    agree: Callable[[Job, Job], Agreement]
    """(plain job, our job), when both are done."""
    plain: Job
    ours: dict[str, Job]

    @property
    def jobs(self) -> dict[str, Job]:
        """All versions of the work by name."""
        return {PLAIN: self.plain, **self.ours}


@dataclass(frozen=True)
class Bench:
    """A study of the plan, and a directory for what the plain jobs write."""

    plan: Plan
    study: str
    work: Path

    @property
    def dense(self) -> Cell:
        """The cell of the unpruned model."""
        return next(cell for cell in self.plan.studies[self.study].cells if cell.method in self.plan.shown.baselines)

    @property
    def model(self) -> Path:
        """The directory of the model."""
        return Path(paths.MODEL.format(model=self.dense.model)).parent

    @property
    def inputs(self) -> list[str]:
        """The files that the DAG must make before anything is timed."""
        study = self.plan.studies[self.study]
        jobs = ordered(job for cell in study.cells for job in chain(self.plan, cell, study.all_suites))
        files = {str(job.outputs[0]) for job in jobs if job.rule == "calibrate" or job.asset}
        return sorted(files | {paths.PRUNED.format(**self.dense.wildcards)})

    def cases(self) -> Iterator[Case]:
        """List all cases of the study."""
        pruned: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.plan.studies[self.study].cells:
            if cell != self.dense:
                pruned.setdefault((self.plan.config.methods[cell.method].method, cell.calibration), []).append(cell)
        for (method, calibration), cells in pruned.items():
            yield self._prune_case(method, calibration, cells)
        yield self._perplexity_case()
        yield self._zeroshot_case()

    def _prune_case(self, method: str, calibration: str, cells: list[Cell]) -> Case:
        """Make the case of a method from `cells` that differ in their dtype only."""
        _, samples, seqlen = calibration_parts(calibration)
        plain = commands.plain(
            "prune",
            self.work / f"{method}_{calibration}.safetensors",
            model=self.model,
            method=method,
            sparsity=cells[0].sparsity,
            tokens=self.plan.job("prune", **cells[0].wildcards).input("tokens"),
        )
        ours = {
            self._dtype(self.plan.config.methods[cell.method]): commands.ours(
                paths.PRUNED.format(**cell.wildcards), paths.PRUNE_MEASURED.format(**cell.wildcards)
            )
            for cell in cells
        }
        agree = partial(agreement.pruning, self.model, self._judge)
        return Case(f"{method}, {samples} x {seqlen}", method, lambda: (samples * seqlen, seqlen), agree, plain, ours)

    def _perplexity_case(self) -> Case:
        params, ours = self._suites("perplexity")
        title = f"perplexity, {len(params.corpora)} x {params.windows} x {params.seqlen}"
        tokens = len(params.corpora) * params.windows * params.seqlen
        plain = self._plain_perplexity(self.work / "perplexity.json", windows=params.windows)
        return Case(title, "perplexity", lambda: (tokens, params.seqlen), agreement.perplexity, plain, ours)

    def _zeroshot_case(self) -> Case:
        params, ours = self._suites("zeroshot")
        plain = commands.plain(
            "zeroshot",
            self.work / "zeroshot.json",
            model=self.model,
            data=Path(paths.TASKS.format(tasks=params.data)).parent,
            tasks=params.tasks,
            limit=params.limit,
        )

        def size() -> tuple[int, float]:
            counts = read_json(plain.result)
            return counts["tokens"], counts["tokens"] / counts["sequences"]

        title = f"zero-shot, {len(params.tasks)} tasks x {params.limit} rows"
        return Case(title, "zeroshot", size, agreement.zeroshot, plain, ours)

    def _suites(self, table: str) -> tuple[Any, dict[str, Job]]:
        """Find the protocol of the suites of one kind, and their jobs on the dense model by dtype."""
        suites = {suite: self.plan.config.suites[suite] for suite in self.plan.shown.suites_of(self.study, table)}
        where = {suite: {**self.dense.wildcards, "suite": suite} for suite in suites}
        ours = {
            self._dtype(entry): commands.ours(
                paths.EVALUATION.format(**where[suite]), paths.EVALUATION_MEASURED.format(**where[suite])
            )
            for suite, entry in suites.items()
        }
        return configured("suites", next(iter(suites.values()))).params, ours

    def _judge(self, weights: Path) -> Job:
        """Make the job of the plain perplexity of the model with `weights`, on a few windows."""
        return self._plain_perplexity(weights.with_suffix(".json"), windows=JUDGED, weights=weights)

    def _plain_perplexity(self, result: Path, **options: object) -> Job:
        params, _ = self._suites("perplexity")
        corpora = [Path(paths.CORPUS.format(corpus=corpus)).parent for corpus in params.corpora]
        return commands.plain("perplexity", result, model=self.model, corpora=corpora, seqlen=params.seqlen, **options)

    @staticmethod
    def _dtype(entry: Any) -> str:
        """Find the dtype of a method or suite, each of which has compute settings of its own."""
        dtype: str = entry.compute.dtype
        return dtype
