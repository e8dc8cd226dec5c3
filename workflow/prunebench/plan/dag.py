"""The jobs of a plan: what the rules make of it, for commands that look at a run without snakemake."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.cell import Cell
from prunebench.plan import paths
from prunebench.plan.grid import allocation_form, search_used
from prunebench.plan.plan import Plan
from prunebench.plugin import Search

_FETCH = {"models": ("fetch_model", "model"), "corpora": ("fetch_corpus", "corpus"), "tasks": ("fetch_tasks", "tasks")}


@dataclass(frozen=True)
class Job:
    """One job of a rule."""

    rule: str
    subject: str
    """Its wildcards, as its log is called."""
    outputs: tuple[Path, ...]
    """When it is done, the first is there; others may be deleted after use."""
    log: Path
    """What it says; the first line is the command that repeats it."""
    benchmark: Path
    """Written by Snakemake when it is done."""

    @classmethod
    def of(cls, rule: str, **wildcards: Any) -> "Job":
        """The job of `rule` for `wildcards`, of which there may be more than the rule has."""
        made = paths.RULES[rule]
        return cls(
            rule,
            made.subject.format(**wildcards),
            tuple(Path(pattern.format(**wildcards)) for pattern in made.outputs),
            Path(paths.log(rule).format(**wildcards)),
            Path(paths.benchmark(rule).format(**wildcards)),
        )

    @property
    def done(self) -> bool:
        """Whether its result is there, whatever it was made from."""
        return self.outputs[0].exists()

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is written for it."""
        return (*self.outputs, self.log, self.benchmark)

    def __str__(self) -> str:
        return f"{self.rule} {self.subject}"


def chain(plan: Plan, cell: Cell, suites: Iterable[str]) -> list[Job]:
    """All jobs that evaluating `suites` on `cell` rests on, each after those that it reads from; evaluations last."""
    evaluations = [job for suite in suites for job in _evaluation(plan, cell, suite)]
    return list(dict.fromkeys([*_pruning(plan, cell), *evaluations]))


def jobs(plan: Plan) -> list[Job]:
    """Every job of the targets `all` and `strict`."""
    found = [job for of in plan.studies.values() for cell in of.cells for job in chain(plan, cell, of.suites[cell])]
    for study in plan.studies:
        found += [job for run in plan.shown.searches(study) for job in searching(plan, Search(*run))]
    if plan.masks:
        found += [Job.of("keep_masks", **cell.wildcards) for cell in plan.cells]
    found += [Job.of("tables", study=study, table=table) for study, table in plan.shown.tables]
    found += [Job.of("figures", study=study, figure=figure) for study, figure in plan.shown.figures]
    return list(dict.fromkeys([*found, Job.of("collect"), Job.of("report"), Job.of("strict")]))


def maker(path: Path) -> Job | None:
    """The job that writes `path`, if its name is one that a rule gives."""
    for rule, made in paths.RULES.items():
        # The longest first: {suite}.json fits ppl.measured.json as well.
        for pattern in sorted((*made.outputs, paths.log(rule), paths.benchmark(rule)), key=len, reverse=True):
            if match := paths.expression(pattern).fullmatch(path.as_posix()):
                return Job.of(rule, **match.groupdict())
    return None


def _pruning(plan: Plan, cell: Cell) -> Iterator[Job]:
    point = allocation_form(plan.config, cell)
    for asset in (f"models/{cell.model}", *plan.method_assets(cell.method)):
        yield from _arriving(plan, asset)
    readers = [cell] if plan.tokens(cell) else []
    for reader in [*readers, *([point] if plan.profile(point) or plan.allocator_tokens(point) else [])]:
        yield _fetch(f"corpora/{plan.calibration_corpus(reader.calibration)}")
        yield Job.of("calibrate", **reader.wildcards)
    if plan.profile(point):
        yield Job.of("profile", **point.wildcards)
    if search := search_used(plan.config, point):
        yield from searching(plan, search)
    # Before allocate: a failure there is no reason to make them again.
    if plan.gradients(cell):
        yield Job.of("gradients", **cell.wildcards)
    yield Job.of("allocate", **point.wildcards)
    yield Job.of("prune", **cell.wildcards)


def searching(plan: Plan, search: Search) -> Iterator[Job]:
    """All jobs that the result of `search` rests on, and last the one that makes it."""
    entry = plan.config.searches[search.name]
    draw = {"model": entry.model, "calibration": entry.calibration, "seed": entry.calibration_seed}
    yield from _arriving(plan, f"models/{entry.model}")
    for corpus in (plan.calibration_corpus(entry.calibration), entry.corpus):
        yield _fetch(f"corpora/{corpus}")
    yield Job.of("calibrate", **draw)
    yield Job.of("profile", **draw)
    for seed in plan.config.seeds(search):
        yield Job.of("search_allocation", search=search.name, seed=seed)
    if search.seed is None:
        yield Job.of("gather_search", search=search.name)


def _evaluation(plan: Plan, cell: Cell, suite: str) -> Iterator[Job]:
    for asset in plan.suite_assets(suite):
        yield from _arriving(plan, asset)
    yield Job.of("evaluate", **cell.wildcards, suite=suite)


def _arriving(plan: Plan, asset: str) -> Iterator[Job]:
    kind, name = asset.split("/")
    if kind == "models" and plan.training_corpora(name):
        yield from (_fetch(f"corpora/{corpus}") for corpus in plan.training_corpora(name))
        yield Job.of("train_model", model=name)
    yield _fetch(asset)


def _fetch(asset: str) -> Job:
    kind, name = asset.split("/")
    rule, wildcard = _FETCH[kind]
    return Job.of(rule, **{wildcard: name})
