"""Shows a study at a glance: counts of states, a grid of numbers for each suite, and reasons for missing numbers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prunebench.cell import NO_CALIBRATION, Cell
from prunebench.names import few
from prunebench.plan.find import path_of
from prunebench.plan.plan import Plan
from prunebench.suites.metrics import metric
from prunebench.view.states import STATUSES, State, running_jobs, split_by_plan

STYLES = {"ok": "green", "running": "cyan", "failed": "red", "stopped": "bold red", "skipped": "dim", "missing": "dim"}
SHOWN = 5
"""The largest number of cells that are named beside one reason."""
AXES = ("model", "method", "allocator", "calibration", "seed")


def overview(plan: Plan, states: Sequence[State]) -> Group:
    """The overview of all `states`, study by study, and then the running jobs."""
    parts: list[RenderableType] = []
    for study, of_study in _by_study(states).items():
        parts += [counts(study, of_study), *_details(plan, study, of_study)]
    return Group(*parts, *_running(plan))


def watched(plan: Plan, states: Sequence[State]) -> Group:
    """The overview with all that moves on top: of a display that is updated, a terminal shows the first lines only."""
    studies = _by_study(states)
    parts: list[RenderableType] = [counts(study, of_study) for study, of_study in studies.items()]
    parts += _running(plan)
    for study, of_study in studies.items():
        parts += [Text(study, "bold")] if len(studies) > 1 else []
        parts += _details(plan, study, of_study)
    return Group(*parts)


def _by_study(states: Sequence[State]) -> dict[str, list[State]]:
    studies: dict[str, list[State]] = {}
    for state in states:
        studies.setdefault(state.study, []).append(state)
    return studies


def _details(plan: Plan, study: str, states: Sequence[State]) -> list[RenderableType]:
    """A grid for each suite of `study`, and the reasons for missing numbers."""
    parts: list[RenderableType] = []
    for suite in plan.studies[study].all_suites:
        of_suite = [state for state in states if state.suite == suite]
        parts += [_head(plan, suite, of_suite), grid(of_suite)]
    return [*parts, *reasons(states)]


def _running(plan: Plan) -> list[Text]:
    """A line for the running jobs of `plan`, and a line for all others."""
    ours, others = split_by_plan(plan, running_jobs())
    titles = {"running": ours, "running with other settings or for another config": others}
    return [
        Text(f"{title}: {few(list(map(str, jobs)), SHOWN)}", STYLES["running"])
        for title, jobs in titles.items()
        if jobs
    ]


def plain(state: State) -> dict[str, Any]:
    """A state as a dict, for JSON."""
    score = {key: state.score[key] for key in ("task", "metric", "value")} if state.score else {}
    log = {"log": str(state.job.log)} if state.job else {}
    identity = {"study": state.study, "cell": path_of(state.cell), "suite": state.suite}
    return {**identity, "status": state.status, "reason": state.reason, **score, **log}


def counts(study: str, states: Sequence[State]) -> Text:
    """A line with the number of evaluations of each status."""
    numbers = Counter(state.status for state in states)
    line = Text.assemble((study, "bold"), f": {numbers['ok']} of {numbers.total()} done")
    for status in STATUSES[1:]:
        if numbers[status]:
            line.append(", ").append(f"{numbers[status]} {status}", STYLES[status])
    return line


def grid(states: Sequence[State]) -> Table:
    """A table with a column for each sparsity, and a row for each other combination of axes that differ."""
    values = {axis: {getattr(state.cell, axis) for state in states} for axis in AXES}
    shown = [axis for axis in AXES if axis == "method" or len(values[axis] - {NO_CALIBRATION}) > 1]
    points = sorted({_point(state.cell) for state in states})
    rows: dict[tuple[Any, ...], dict[tuple[Any, ...], State]] = {}
    for state in states:
        rows.setdefault(tuple(getattr(state.cell, axis) for axis in AXES), {})[_point(state.cell)] = state
    table = Table()
    for axis in shown:
        table.add_column(axis)
    for *_, label in points:
        table.add_column(str(label), justify="right")
    for key, row in rows.items():
        stub = (str(value) for axis, value in zip(AXES, key, strict=True) if axis in shown)
        table.add_row(*stub, *(_entry(row[point]) if point in row else "" for point in points))
    return table


def reasons(states: Sequence[State]) -> list[Text]:
    """Each reason for a missing number once, with the cells that it concerns."""
    cells: dict[tuple[str, str], list[State]] = {}
    for status in STATUSES[1:]:
        for state in states:
            if state.status == status and state.reason:
                cells.setdefault((status, state.reason), []).append(state)
    lines = []
    for (status, reason), concerned in cells.items():
        line = Text.assemble((status, STYLES[status]), " ", reason)
        for state in concerned[:SHOWN]:
            line.append(f"\n  {path_of(state.cell)} {state.suite}")
        if len(concerned) > SHOWN:
            line.append(f"\n  and {len(concerned) - SHOWN} more")
        if status in ("failed", "stopped"):
            logs = dict.fromkeys(str(state.job.log) for state in concerned[:SHOWN] if state.job)
            line.append(f"\n  log: {', '.join(logs)}")
        lines.append(line)
    return lines


def _head(plan: Plan, suite: str, states: Sequence[State]) -> Text:
    """A heading with the suite, the metric of its numbers, and its protocol."""
    scores = [f"{state.score['task']} {state.score['metric']}" for state in states if state.score]
    protocol = plan.config.suites[suite].title
    return Text.assemble((suite, "bold"), *(f", {text}" for text in (*scores[:1], protocol) if text))


def _point(cell: Cell) -> tuple[bool, str, str]:
    """A key that sorts columns (unstructured by sparsity, then n:m); its last part is the head of the cell's column."""
    if cell.shape.structured:
        return True, cell.pattern, cell.pattern
    return False, cell.sparsity, "as is" if cell.sparsity == "0.00" else f"{float(cell.sparsity):.0%}"


def _entry(state: State) -> Text:
    text = state.status
    if state.score:
        text = metric(state.score["metric"]).text(state.score["value"])
    elif state.status == "running" and state.reason:
        _, done, _, total = state.reason.split()[:4]
        text = f"{done}/{total}"
    return Text(text, STYLES[state.status])
