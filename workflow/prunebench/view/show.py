"""Shows one cell in detail: its spec, results and costs, and how to run it again."""

import json
import shlex
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from rich.bar import Bar
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from prunebench.cell import Cell
from prunebench.plan import graph
from prunebench.plan.find import path_of
from prunebench.plan.jobs import named
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.results.current import Results
from prunebench.runtime.lines import aligned
from prunebench.storage.sealed import read_if_whole
from prunebench.suites.metrics import metric
from prunebench.view import logs
from prunebench.view.commands import snakemake
from prunebench.view.states import State, states
from prunebench.view.status import STYLES

BAR = 40
LOG_LINES = 12
MACHINE = ("device", "host", "machine", "threads", "code")
COST = ("seconds", "cpu_seconds", "peak_memory_mb", "peak_gpu_memory_mb", *MACHINE)


def detail(plan: Plan, cell: Cell) -> Iterator[RenderableType]:
    """Yield all valid results of `cell`, and the reasons for results that are missing."""
    results = Results(plan)
    everything = states(plan, results, plan.studies)
    of_cell = list({state.suite: state for state in everything if state.cell == cell}.values())
    yield _heading(plan, cell)
    yield _outcomes(results, of_cell)
    if all(state.status == "skipped" for state in of_cell):
        return
    jobs = graph.chain(plan, cell, [state.suite for state in of_cell])
    yield _spec(plan, cell)
    yield from _allocation(plan, cell)
    pruned = results.prune(cell)["status"]
    if pruned == "ok":
        yield from _weights(results.prune(cell))
    if pruned != "missing":
        older = {job for job in jobs for state in of_cell if state.status == "missing" and job == _evaluation(state)}
        yield from _cost([job for job in jobs if job not in older])
    yield from _again(plan, jobs, of_cell)


def _heading(plan: Plan, cell: Cell) -> Text:
    labels = plan.shown.labels()
    names = (f"models/{cell.model}", f"methods/{cell.method}", f"allocators/{cell.allocator}")
    titles = (labels[name] for name in names)
    return Text.assemble((path_of(cell), "bold"), "\n", ", ".join(titles))


def _outcomes(results: Results, evaluations: list[State]) -> Text:
    """A line for each score, and for each evaluation without scores."""
    rows = []
    for state in evaluations:
        status = Text(state.status, STYLES[state.status])
        scores = results.evaluation(state.cell, state.suite)["scores"] if state.score else []
        for score in scores:
            spread = f" ± {score['stderr']:.3g}" if score["stderr"] is not None else ""
            value = metric(score["metric"]).text(score["value"])
            rows.append((state.suite, status, f"{score['task']} {score['metric']} {value}{spread}"))
        if not scores:
            rows.append((state.suite, status, state.reason))
    return aligned(rows, "evaluations")


def _spec(plan: Plan, cell: Cell) -> Text:
    """Everything that can change the weights."""
    pruning = plan.job("prune", **cell.wildcards)
    rows = []
    for key, value in json.loads(pruning.spec).items():
        if isinstance(value, dict):
            value = ", ".join(f"{name}: {part}" for name, part in value.items()) or None
        rows.append((key, "-" if value is None else str(value)))
    return aligned(rows, f"spec of prune ({pruning.spec_hash})")


def _allocation(plan: Plan, cell: Cell) -> Iterator[Table]:
    """The allocation of the cell, if a valid one is on disk."""
    job = plan.allocation(cell)
    record = read_if_whole(job.outputs[0]) or {}
    if record.get("spec_hash") == job.spec_hash and record["status"] == "ok":
        yield _bars("allocation: sparsity asked of a block's linears, mean", record["sparsities"])


def _weights(pruned: dict[str, Any]) -> Iterator[RenderableType]:
    """The achieved sparsity, and reconstruction errors if the method read data."""
    target = "" if pruned["target_sparsity"] is None else f" (target {pruned['target_sparsity']:.4f})"
    rows = [
        ("zeros", f"{pruned['achieved_sparsity']:.4f}{target}"),
        ("prunable", f"{pruned['prunable_weights']:,} weights, {pruned['already_zero']:,} zero before"),
    ]
    if beyond := pruned.get("zeros_beyond_target"):
        rows.append(("beyond target", f"{beyond:,} of these were zero where fewer zeros were asked for"))
    yield aligned(rows, "weights")
    linears = {name: linear for block in pruned["blocks"] for name, linear in block["linears"].items()}
    key = "reconstruction_error"
    errors = {name: linear[key] for name, linear in linears.items() if key in linear}
    if errors:
        yield _bars("reconstruction error of a block's linears, mean", errors)
        worst = sorted(errors, key=lambda name: -errors[name])[:3]
        yield Text("largest: " + ", ".join(f"{name} {errors[name]:.3f}" for name in worst))


def _bars(title: str, values: Mapping[str, float]) -> Table:
    """A bar for the mean of each block's linears, whose full names have its number; one bar if all values are equal."""
    blocks: dict[int, list[float]] = {}
    for name, value in values.items():
        blocks.setdefault(next(int(part) for part in name.split(".") if part.isdigit()), []).append(value)
    means = {f"block {block}": fmean(blocks[block]) for block in sorted(blocks)}
    if len(set(values.values())) == 1:
        means = {f"all {len(blocks)} blocks": next(iter(values.values()))}
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for label, mean in means.items():
        table.add_row(label, Bar(max(1.0, *means.values()), 0, mean, width=BAR), f"{mean:.3f}")
    return table


def _cost(jobs: list[Job]) -> Iterator[Table]:
    """A table of the costs of the cell's jobs, and of the machines on which they ran."""
    files = {job: path for job in jobs for path in job.outputs if path.name.endswith("measured.json")}
    measured = {job: record for job, path in files.items() if (record := read_if_whole(path))}
    if not measured:
        return
    suffix = {job: " ".join(job.subject.split("/")[5:]) for job in measured}
    heads = (f"{job.rule} {suffix[job]}".strip() for job in measured)
    table = Table("", *heads, title="cost and provenance", title_justify="left")
    libraries = dict.fromkeys(library for record in measured.values() for library in record["versions"])
    for key in (*COST, *libraries):
        row = [record["versions"].get(key, record.get(key)) for record in measured.values()]
        if any(value is not None for value in row):
            table.add_row(key, *("" if value is None else str(value) for value in row))
    if any(record.get("resumed") or record.get("resumed_at") for record in measured.values()):
        table.caption = "For a resumed job, this is only its last part."
    yield table


def _again(plan: Plan, jobs: list[Job], evaluations: list[State]) -> Iterator[Text]:
    """The end of a log (of the job that failed, else of the last job), and the commands that repeat its job."""
    culprit = next((state.job for state in evaluations if state.job), None)
    missing = [_evaluation(state).outputs[0] for state in evaluations if state.status == "missing"]
    if missing and culprit is None:
        yield Text.assemble(("to make it: ", "bold"), shlex.join(snakemake(plan, missing)))
        return
    # Without a failed job, the job that ran last is shown.
    job = culprit or max(jobs, key=lambda job: job.log.stat().st_mtime if job.log.exists() else 0)
    if job.log.exists():
        yield Text.assemble((f"end of {job.log}:", "bold"), *(f"\n  {line}" for line in logs.tail(job.log, LOG_LINES)))
        yield Text.assemble(("that job alone, again: ", "bold"), logs.command(job.log))
    command = snakemake(plan, [job.outputs[0]], more=["--force"] if job.done else [])
    yield Text.assemble(("the same by snakemake: ", "bold"), shlex.join(command))


def _evaluation(state: State) -> Job:
    return named("evaluate", **state.cell.wildcards, suite=state.suite)
