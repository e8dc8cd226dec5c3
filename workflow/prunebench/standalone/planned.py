"""Says what pruning one model takes, before anything is fetched or computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.filesize import decimal

from prunebench.estimate import access
from prunebench.estimate.costs import START
from prunebench.estimate.devices import Device
from prunebench.estimate.estimate import Estimate
from prunebench.plan.find import path_of
from prunebench.runtime.digits import duration
from prunebench.standalone.duration import MOST, expected_seconds, own_jobs
from prunebench.standalone.prepare import prepared
from prunebench.standalone.request import Request


@dataclass(frozen=True)
class Planned:
    """The needs of one pruning, in seconds and bytes."""

    model: str
    cell: str
    device: str
    rates: str
    """Where the rates of the device come from."""
    choice: str | None
    """The method that was chosen and the reason for it; None if the user has named the method."""
    seconds: float
    """The time, with the start of the process."""
    cores: int
    """The CPU cores that the time is for; 0 for a card."""
    host_bytes: float
    card_bytes: float
    cards: int
    fits: bool
    """Whether the card, if there is one, has so much memory."""
    fetched_bytes: float | None
    """The size of a model that comes from the hub; None for any other model."""
    written_bytes: float
    """The size of the pruned model, dense with zeros in place."""


def planned(request: Request, machine: Device) -> Planned:
    """Estimate what `request` takes on `machine`. Raises PrunebenchError for a request that cannot be met."""
    ready = prepared(request, machine=machine)
    concrete = ready.work
    plan, cell = concrete.plan, concrete.cell
    estimate, threads = Estimate(plan, machine), request.compute.threads
    costs = [estimate.cost(job) for job in own_jobs(plan, cell)]
    card = max(cost.card for cost in costs) if machine.memory else 0.0
    sizes = estimate.model(cell.model)
    return Planned(
        model=plan.config.models[cell.model].title,
        cell=path_of(replace(cell, method=plan.config.methods[cell.method].method)),
        device=machine.title,
        rates=machine.source,
        choice=ready.choice,
        seconds=round(START + expected_seconds(plan, cell, threads, machine)),
        cores=0 if card else min(threads, MOST),
        host_bytes=max(cost.host for cost in costs),
        card_bytes=card,
        cards=max(cost.cards(machine) for cost in costs),
        fits=machine.memory is None or all(cost.divisible or cost.card <= machine.memory for cost in costs),
        fetched_bytes=access.size(estimate, f"models/{cell.model}"),
        written_bytes=float(sizes.parameters * sizes.item),
    )


def lines(plan: Planned) -> Iterator[tuple[str, str]]:
    """Write `plan` as (kind of need, text)."""
    yield "model", plan.model
    yield "cell", plan.cell
    if plan.choice:
        yield "method", plan.choice
    place = f"{plan.cores} core{'s' if plan.cores > 1 else ''}" if plan.cores else plan.device
    yield "time", f"about {duration(plan.seconds)} on {place}, without downloads. Rates {plan.rates}."
    yield "memory", f"at most {decimal(int(plan.host_bytes))}"
    if plan.card_bytes:
        many = f", on {plan.cards} cards" if plan.cards > 1 else ""
        room = "" if plan.fits else ": more than it has, so that this does not fit"
        yield "of a card", f"at most {decimal(int(plan.card_bytes))}{many}{room}"
    if plan.fetched_bytes:
        yield "download", f"at most {decimal(int(plan.fetched_bytes))}, unless the model is here already"
    yield "disk", f"at most {decimal(int(plan.written_bytes))} for the pruned model, dense with zeros in place"


def plain(plan: Planned) -> dict[str, Any]:
    """Collect `plan` for other programs."""
    return asdict(plan)
