"""Showing an estimate as tables, and as plain data for other programs."""

from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from prunebench.estimate import access, space
from prunebench.estimate.estimate import Estimate, RuleCosts, missing
from prunebench.plan.graph import jobs


def overview(study: str, estimate: Estimate, problems: dict[str, str | None] | None = None) -> Group:
    """Show everything about one study. `problems` has the result of a check by asset: None where nothing is wrong."""
    parts: list[RenderableType] = [Text.assemble((study, "bold"), f": {_counts(estimate)}")]
    parts += [rules(estimate), downloads(estimate, problems)] if estimate.costs else []
    return Group(*parts, *(Text(line) for line in notes(estimate)))


def rules(estimate: Estimate) -> Table:
    """Make a row for each rule. A rule whose work is not counted (downloads, tables) shows its number of jobs only."""
    table = Table("rule", "jobs", "hours", "longest", "memory", "of a card", "cards", title=estimate.device.title)
    for column in table.columns[1:]:
        column.justify = "right"
    for work in estimate.rules:
        if not work.counted:
            table.add_row(work.rule, str(len(work.jobs)))
            continue
        seconds = [estimate.seconds(cost) for cost in work.costs]
        cards = max(cost.cards(estimate.device) for cost in work.costs)
        table.add_row(
            work.rule,
            str(len(work.jobs)),
            f"{sum(seconds) / 3600:.1f}",
            duration(max(seconds)),
            decimal(int(max(cost.host for cost in work.costs))),
            decimal(int(card(work))) if card(work) else "",
            str(cards) if cards else "",
        )
    return table


def downloads(estimate: Estimate, problems: dict[str, str | None] | None) -> Table:
    """Make a row for each asset. The size of a model follows from its shape; other sizes are not known before."""
    table = Table("to fetch", "from", "at most", "access")
    table.columns[2].justify = "right"
    for asset in estimate.assets:
        size = access.size(estimate, asset)
        state = access.condition(estimate, asset)
        if problems is not None:
            state = problems[asset] or "ok"
        origin = Text(access.origin(estimate, asset))
        table.add_row(asset, origin, decimal(int(size)) if size else "", Text(state))
    return table


def notes(estimate: Estimate) -> list[str]:
    """Write the totals and warnings that the tables do not have."""
    cards, host = estimate.hours
    total = f"{cards:.1f} hours of a card" if estimate.device.memory else f"{host:.1f} hours"
    besides = f", {host:.1f} hours of a processor beside them" if estimate.device.memory else ""
    lines = [f"In all about {total}{besides}, one job at a time. Rates {estimate.device.source}."]
    if fetched := _fetched(estimate):
        lines.append(fetched)
    kept = ", ".join(f"{decimal(int(size))} with {setting}" for setting, size in estimate.kept.items())
    setting = estimate.plan.config.keep_weights
    lines.append(f"Pruned weights that stay (keep_weights: {setting}): {kept}.")
    if estimate.disk:
        lines.append(f"Other results that stay: {decimal(int(estimate.disk))}.")
    scratch = max((cost.scratch for cost in estimate.costs.values()), default=0.0)
    if scratch:
        lines.append(f"Files of a running job beside its finished blocks: up to {decimal(int(scratch))}.")
    pending = [job for job in estimate.costs if job.rule in space.RULES and not job.done]
    lines += [f"Before a run: {line}." for line in space.shortages(space.demands(estimate.plan, pending))]
    lines += [f"{rule}: does not fit {estimate.device.title}: {subject}" for rule, subject in too_large(estimate)]
    lines += [
        f"{asset}: its size is not known before it is here, taken for {by}" for asset, by in missing(estimate).items()
    ]
    return lines


def too_large(estimate: Estimate) -> list[tuple[str, str]]:
    """List (rule, job) for the largest job of each rule that needs more than one card has and cannot be divided."""
    memory, large = estimate.device.memory, []
    for work in estimate.rules if memory else []:
        job, cost = max(zip(work.jobs, work.costs, strict=True), key=lambda pair: pair[1].card)
        if memory and cost.card > memory and not cost.divisible:
            large.append((work.rule, f"{job.subject} needs {decimal(int(cost.card))}"))
    return large


def plain(study: str, estimate: Estimate, problems: dict[str, str | None] | None = None) -> dict[str, Any]:
    """Collect the estimate for other programs, in seconds and bytes."""
    return {
        "study": study,
        "device": estimate.device.title,
        "cells": len(estimate.plan.cells),
        "skipped": sum(len(study.skipped) for study in estimate.plan.studies.values()),
        "evaluations": len(estimate.plan.evaluations),
        "jobs_done": sum(job in estimate.done for job in jobs(estimate.plan)),
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


def duration(seconds: float) -> str:
    """Print a time in the largest unit that it fills."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _fetched(estimate: Estimate) -> str:
    """Say in a sentence how large all downloads are together, if any has a known size."""
    size = sum(access.size(estimate, asset) or 0 for asset in estimate.assets)
    copies = sum(access.converted(estimate, asset) for asset in estimate.assets)
    said = [f"To fetch: models of at most {decimal(int(size))}"]
    if copies:
        said.append(f"{decimal(int(copies))} more for copies of pickled weights as safetensors")
    if unsized := access.unsized(estimate):
        said.append(f"and what has no size before it is here: {', '.join(unsized)}")
    return ", ".join(said) + "." if size else ""


def _counts(estimate: Estimate) -> str:
    plan = estimate.plan
    skipped = sum(len(study.skipped) for study in plan.studies.values())
    left_out = f" ({skipped} more are skipped)" if skipped else ""
    done = sum(job in estimate.done for job in jobs(plan))
    left = f"{len(estimate.costs)} jobs" + (f" left, {done} are done" if done else "")
    return f"{len(plan.cells)} cells{left_out}, {len(plan.evaluations)} evaluations, {left}"


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


def _plain_asset(estimate: Estimate, asset: str, problems: dict[str, str | None] | None) -> dict[str, Any]:
    size = access.size(estimate, asset)
    return {
        "from": access.origin(estimate, asset),
        "bytes": round(size) if size else None,
        "converted_bytes": round(access.converted(estimate, asset)) if size else None,
        "access": access.condition(estimate, asset),
        **({} if problems is None else {"problem": problems[asset]}),
    }
