"""The command that measures speed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli.beginning import prepare
from prunebench.cli.options import AsJson, Bits, Device, DType, Group, Model, Threads, count, option, path_or_name
from prunebench.cli.printing import show
from prunebench.config.values import MOST_WINDOWS
from prunebench.storage.packed import packing_of

if TYPE_CHECKING:
    from rich.table import Table

    from prunebench.suites.base import Score

app = typer.Typer()

TIMING = "Timing"
LEGEND = (
    "t/s: tokens a second, of prompts that are read and of text that is written. "
    "vs first row: so many times as fast as the form in the first row."
)


@app.command()
def speed(
    model: Model,
    against: Annotated[
        str | None,
        option(
            "The dense model, which takes turns.",
            "--against",
            panel=TIMING,
            metavar="DENSE",
            parser=path_or_name("--against"),
        ),
    ] = None,
    prompt: Annotated[int, count(1, "Tokens of each prompt; default 512.", "--prompt", panel=TIMING)] = 512,
    tokens: Annotated[int, count(2, "Tokens written in each pass; default 32.", "--tokens", panel=TIMING)] = 32,
    batch: Annotated[
        list[int] | None,
        option("Sequences at once; repeatable; default 1.", "--batch", panel=TIMING, metavar="N"),
    ] = None,
    repeats: Annotated[int, count(1, "Counted passes of each form; default 5.", "--repeats", panel=TIMING)] = 5,
    bits: Bits = None,
    group: Group = None,
    dtype: DType = "bfloat16",
    threads: Threads = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure how fast MODEL reads and writes: by PyTorch with zeros in place, and packed.

    Example: prunebench speed path/to/packed --against path/to/dense

    The forms of the model take turns in one process. If MODEL is not packed yet, it is packed for the measurement, as
    --bits and --group say. A first pass warms up and is not counted. The dense kernel is ours and uses no zeros: what
    it wins is not due to pruning. Stop other programs first.
    """
    packing_of(True, bits, group)
    for size in batch or ():
        if not 1 <= size <= MOST_WINDOWS:
            raise typer.BadParameter(f"{size} is not from 1 to {MOST_WINDOWS}", param_hint="--batch")
    batches = list(dict.fromkeys(batch or [1]))
    compute = prepare(dtype, 1, threads, device)
    from prunebench.standalone.speed import protocol, speed_of

    scores = speed_of(model, against, protocol(prompt, tokens, batches, repeats, bits, group), compute)
    if as_json:
        typer.echo(json.dumps([asdict(score) for score in scores]))
        return
    show(_table(scores, batches))


def _table(scores: list[Score], batches: list[int]) -> Table:
    """Lay out a row for each form; ratios are to the first one."""
    from rich.table import Table

    from prunebench.suites.metrics import metric
    from prunebench.suites.speed import TITLES, conditions

    values = {(score.task, score.metric): score.value for score in scores}
    forms = list(dict.fromkeys(score.task for score in scores if score.metric.startswith("decode")))
    several = len(batches) > 1
    heads = [
        f"{head}\nbatch {batch}" if several else head
        for batch in batches
        for head in ("prompt\nt/s", "written\nt/s", "written\nvs first\nrow")
    ]
    table = Table("", "disk\nMB", "load\ns", "memory\nMB", *heads, caption=f"{LEGEND}\n{conditions(scores)}")
    for form in forms:
        row = [
            metric(name).text(values[form, name]) if (form, name) in values else "" for name in ("disk", "load", "peak")
        ]
        for batch in batches:
            prefill, decode = f"prefill_{batch}", f"decode_{batch}"
            row += [metric(name).text(values[form, name]) for name in (prefill, decode)]
            row.append(f"{values[form, decode] / values[forms[0], decode]:.2f}x")
        table.add_row(TITLES[form], *row)
    return table
