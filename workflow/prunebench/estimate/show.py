"""Showing an estimate as tables, and as plain data for other programs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from prunebench.errors import PrunebenchError
from prunebench.estimate import access, space
from prunebench.estimate.access import Problem
from prunebench.estimate.estimate import Estimate, RuleCosts, missing
from prunebench.plan.graph import jobs_of_all
from prunebench.plan.plan import Plan
from prunebench.plan.resources import check_threads
from prunebench.runtime.cgroups import visible_cpus
from prunebench.runtime.digits import duration

Problems = Mapping[str, Problem | None] | None
"""The result of a check by asset; None without a check."""
RULE = ("rule", "jobs", "time", "longest", "memory", "of a card", "cards")
"""The columns of the table of rules."""
UNASKED = "not asked"
"""The state of an asset about which the hub gives no answer."""


def overview(study: str, estimate: Estimate, problems: Problems = None) -> Group:
    """Show everything about one study, with the result of a check of its `problems`."""
    parts: list[RenderableType] = [Text.assemble((study, "bold"), f": {_counts(estimate)}")]
    parts += [rules(estimate)] if estimate.costs else []
    parts += [downloads(estimate, problems)] if estimate.assets else []
    return Group(*parts, *(Text(line, no_wrap=False) for line in (*reasons(problems), *notes(estimate))))


def rules(estimate: Estimate) -> Table:
    """Make a row for each rule. A rule whose work is not counted (downloads, tables) shows its number of jobs only."""
    rows = []
    for work in estimate.rules:
        row = [work.rule, str(len(work.jobs))]
        if work.counted:
            seconds = [estimate.seconds(cost) for cost in work.costs]
            cards = max(cost.cards(estimate.device) for cost in work.costs)
            row += [duration(sum(seconds)), duration(max(seconds))]
            row += [decimal(int(max(cost.host for cost in work.costs)))]
            row += [decimal(int(card(work))) if card(work) else "", str(cards) if cards else ""]
        rows.append(row + [""] * (len(RULE) - len(row)))
    return _table(RULE, rows, range(1, len(RULE)), title=Text(f"on {estimate.device.title}"))


def downloads(estimate: Estimate, problems: Problems) -> Table:
    """Make a row for each asset. The size of a model follows from its shape; other sizes are not known before."""
    sizes = {asset: access.size(estimate, asset) for asset in estimate.assets}
    unknown = "-" if any(sizes.values()) else ""
    rows = []
    for asset, size in sizes.items():
        state = access.condition(estimate, asset) if problems is None else _state(problems[asset])
        rows.append([asset, access.origin(estimate, asset), decimal(int(size)) if size else unknown, state])
    return _table(("to fetch", "from", "at most", "access"), rows, right=(2,))


def reasons(problems: Problems) -> list[str]:
    """Say why each asset cannot be fetched, and once why the hub cannot be asked."""
    bad = {asset: problem for asset, problem in (problems or {}).items() if problem}
    silent = dict.fromkeys(problem.of_hub for problem in bad.values() if problem.of_hub)
    lines = [f"{_state(problem)}: {asset}: {problem.text}" for asset, problem in bad.items() if not problem.of_hub]
    return [*lines, *(f"{UNASKED}: {reason}." for reason in silent)]


def _state(problem: Problem | None) -> str:
    """Say in a few words whether an asset that has been checked can be fetched."""
    return "ok" if problem is None else UNASKED if problem.of_hub else "not available"


def _table(
    names: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int], title: Text | None = None
) -> Table:
    """Make a table without the columns in which every row is empty. The columns `right` are aligned there."""
    table = Table(title=title)
    filled = [i for i in range(len(names)) if any(row[i] for row in rows)]
    for i in filled:
        table.add_column(names[i], justify="right" if i in right else "left")
    for row in rows:
        table.add_row(*(Text(row[i]) for i in filled))
    return table


def notes(estimate: Estimate) -> list[str]:
    """Write the totals and warnings that the tables do not have."""
    cards, host = (duration(3600 * hours) for hours in estimate.hours)
    total = f"{cards} of a card" if estimate.device.memory else host
    besides = f", {host} of a processor beside it" if estimate.device.memory else ""
    lines = [f"In all about {total}{besides}, one job at a time. Rates {estimate.device.source}."]
    if fetched := _fetched(estimate):
        lines.append(fetched)
    setting, kept = estimate.plan.config.keep_weights, {of: decimal(int(size)) for of, size in estimate.kept.items()}
    others = " and ".join(f"{size} with {of}" for of, size in kept.items() if of != setting)
    lines.append(f"Pruned weights that stay: at most {kept[setting]} (keep_weights: {setting}; {others}).")
    lines += [_published(name, estimate.plan) for name in estimate.plan.studies]
    if estimate.disk:
        lines.append(f"Other results that stay: {decimal(int(estimate.disk))}.")
    scratch = max((cost.scratch for cost in estimate.costs.values()), default=0.0)
    if scratch:
        lines.append(f"Temporary files for the variables of a running job: at most {decimal(int(scratch))}.")
    pending = [job for job in estimate.costs if job.rule in space.RULES and not job.done]
    if shortages := list(space.shortages(space.demands(estimate.plan, pending))):
        lines += [f"No run would start: {line}." for line in shortages]
        lines.append(
            'Sizes are known within bounds: "at most" (also in the table) is the largest possible size, "at least" the '
            "smallest. Only what surely does not fit is refused."
        )
    try:
        check_threads(estimate.costs, visible_cpus())
    except PrunebenchError as error:
        lines.append(f"No run would start with --cores all on this machine: {error}.")
    lines += [f"{rule}: does not fit {estimate.device.title}: {subject}" for rule, subject in too_large(estimate)]
    lines += [
        f"{asset}: its size is not known before it is here, taken for {by}" for asset, by in missing(estimate).items()
    ]
    return lines


def _published(study: str, plan: Plan) -> str:
    """Say how many cells of `study` will stand beside published values."""
    expansion = plan.studies[study]
    pairs = [(cell, suite) for cell in expansion.cells for suite in expansion.suites[cell]]
    count = len({cell for cell, suite in pairs if plan.shown.published(study, cell, suite)})
    table = "beside ours in the table `published`" if count else "so there is no table `published`"
    return f"Published values: for {count or 'none'} of {_number(len(expansion.cells), 'cell')}, {table}."


def too_large(estimate: Estimate) -> list[tuple[str, str]]:
    """List (rule, job) for the largest job of each rule that needs more than one card has and cannot be divided."""
    memory, large = estimate.device.memory, []
    for work in estimate.rules if memory else []:
        job, cost = max(zip(work.jobs, work.costs, strict=True), key=lambda pair: pair[1].card)
        if memory and cost.card > memory and not cost.divisible:
            large.append((work.rule, f"{job.subject} needs {decimal(int(cost.card))}"))
    return large


def plain(study: str, estimate: Estimate, problems: Problems = None) -> dict[str, Any]:
    """Collect the estimate for other programs, in seconds and bytes."""
    return {
        "study": study,
        "device": estimate.device.title,
        "cells": len(estimate.plan.cells),
        "skipped": sum(len(study.skipped) for study in estimate.plan.studies.values()),
        "evaluations": len(estimate.plan.evaluations),
        "jobs_done": sum(job in estimate.done for job in jobs_of_all(estimate.plan)),
        "card_seconds": round(3600 * estimate.hours[0]),
        "host_seconds": round(3600 * estimate.hours[1]),
        "rules": {work.rule: _plain_rule(estimate, work) for work in estimate.rules},
        "kept_bytes": {setting: round(size) for setting, size in estimate.kept.items()},
        "other_result_bytes": round(estimate.disk),
        "assets": {asset: _plain_asset(estimate, asset, problems) for asset in estimate.assets},
        "notes": notes(estimate),
    }


def card(work: RuleCosts) -> float:
    """Find the most bytes on cards that a job of a rule takes."""
    return max(cost.card for cost in work.costs)


def _fetched(estimate: Estimate) -> str:
    """Say in a sentence how large all downloads are together, if any has a known size."""
    size = sum(access.size(estimate, asset) or 0 for asset in estimate.assets)
    copies = sum(access.converted(estimate, asset) for asset in estimate.assets)
    said = [f"To fetch: models of at most {decimal(int(size))}"]
    if copies:
        said.append(f"at most {decimal(int(copies))} more for copies of pickled weights as safetensors")
    if unsized := access.unsized(estimate):
        said.append(f"and what has no size before it is here: {', '.join(unsized)}")
    return ", ".join(said) + "." if size else ""


def _counts(estimate: Estimate) -> str:
    plan = estimate.plan
    skipped = sum(len(study.skipped) for study in plan.studies.values())
    left_out = f" ({skipped} more {'is' if skipped == 1 else 'are'} skipped)" if skipped else ""
    done = sum(job in estimate.done for job in jobs_of_all(plan))
    left = _number(len(estimate.costs), "job") + (f" left, {done} {'is' if done == 1 else 'are'} done" if done else "")
    return f"{_number(len(plan.cells), 'cell')}{left_out}, {_number(len(plan.evaluations), 'evaluation')}, {left}"


def _number(count: int, noun: str) -> str:
    """Write a number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _plain_rule(estimate: Estimate, work: RuleCosts) -> dict[str, Any]:
    seconds = [estimate.seconds(cost) for cost in work.costs]
    return {
        "jobs": len(work.jobs),
        "seconds": round(sum(seconds)),
        "longest_seconds": round(max(seconds)),
        "host_bytes": round(max(cost.host for cost in work.costs)),
        "card_bytes": round(card(work)),
        "cards": max(cost.cards(estimate.device) for cost in work.costs),
        "scratch_bytes": round(max(cost.scratch for cost in work.costs)),
    }


def _plain_asset(estimate: Estimate, asset: str, problems: Problems) -> dict[str, Any]:
    size, problem = access.size(estimate, asset), (problems or {}).get(asset)
    return {
        "from": access.origin(estimate, asset),
        "bytes": round(size) if size else None,
        "converted_bytes": round(access.converted(estimate, asset)) if size else None,
        "access": access.condition(estimate, asset),
        **({} if problems is None else {"problem": problem.text if problem else None}),
    }
