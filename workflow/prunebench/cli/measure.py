"""Commands that measure models on text and tasks: ppl, eval, compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunebench.cli.beginning import prepare, resumable
from prunebench.cli.options import (
    TEXT,
    AsJson,
    BatchSize,
    Bos,
    Column,
    Device,
    DType,
    Model,
    Seqlen,
    Text,
    Threads,
    Tokens,
    count,
    option,
    path_or_name,
)

if TYPE_CHECKING:
    from rich.table import Table

    from prunebench.suites.base import Score

app = typer.Typer()

TASKS = "Tasks"
FIRST = "The first windows to use; default all."
Corpus = Annotated[
    str | None, option("A corpus of the catalog, its test split.", "--corpus", panel=TEXT, metavar="NAME")
]

OTHERS = 60
"""The number of terminal columns that the table of `compare` needs beside the names of models."""
SHOWN = 20
"""The smallest number of letters of a model's name that this table shows."""


@app.command()
def ppl(
    model: Model,
    tokens: Tokens = None,
    corpus: Corpus = None,
    text: Text = None,
    column: Column = None,
    bos: Bos = None,
    seqlen: Seqlen = None,
    windows: Annotated[int | None, count(1, FIRST, "--windows", "-w", panel=TEXT)] = None,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the perplexity of MODEL on tokens, a corpus or a text, in windows without overlap.

    Example: prunebench ppl path/to/model --corpus wikipedia --seqlen 512

    --text takes .txt, .jsonl (with the key --column), .parquet (with the column --column), .gz of these, or a directory
    of such files.
    """
    from prunebench.standalone.text import Source

    source = Source(tokens, corpus, text, column, seqlen, windows, bos)
    compute = prepare(dtype, batch_size, threads, device)
    from prunebench.standalone.measure import load, perplexity_of

    with resumable():
        loaded = load(model, compute)
        score = perplexity_of(loaded, source.windows(loaded), source.name)
    if as_json:
        typer.echo(json.dumps({**_as_dict(score), "windows": score.n, "bos": source.bos}))
    else:
        spread = "" if score.stderr is None else f" ± {score.stderr:.2f}"
        typer.echo(f"perplexity {score.value:.2f}{spread} on {score.n} windows of {source.name}")


@app.command("eval")
def evaluate(
    model: Model,
    suite: Annotated[
        str | None, option("A name from `suites`; default zeroshot7.", "--suite", panel=TASKS, metavar="NAME")
    ] = None,
    task: Annotated[
        list[str] | None,
        option("One of the suite, or of any; repeatable.", "--task", "-t", panel=TASKS, metavar="NAME"),
    ] = None,
    limit: Annotated[
        int | None, count(2, "Rows per task, drawn by a fixed seed; default all.", "--limit", "-l", panel=TASKS)
    ] = None,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Evaluate MODEL on a suite of the catalog: zero-shot tasks, or perplexity.

    Example: prunebench eval path/to/model --suite zeroshot7 --limit 100
    """
    compute = prepare(dtype, batch_size, threads, device)
    from prunebench.standalone.evaluation import evaluation

    chosen = evaluation(suite, task or (), limit, compute)
    from prunebench.standalone.measure import load

    with resumable():
        scores = chosen.run(load(model, compute))
    if as_json:
        typer.echo(json.dumps([_as_dict(score) for score in scores]))
    else:
        _print(_score_table(f"{model}, {chosen.title}", scores))


@app.command()
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL...",
            parser=path_or_name("MODEL"),
            help="Directories or names; the first is the reference.",
        ),
    ],
    tokens: Tokens = None,
    corpus: Corpus = None,
    text: Text = None,
    column: Column = None,
    bos: Bos = None,
    seqlen: Seqlen = None,
    windows: Annotated[int | None, count(2, FIRST, "--windows", "-w", panel=TEXT)] = None,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare models on wikipedia or another text: sparsity, perplexity, and its ratio to the first model's.

    Example: prunebench compare path/to/model path/to/pruned --corpus wikipedia

    The 95% interval of the ratio is a paired bootstrap over windows. If it contains 1, the text does not tell the two
    models apart.
    --text takes the same files as in `ppl`.
    """
    if len(models) < 2:
        raise typer.BadParameter("name two or more models")
    corpus = corpus if any((tokens, corpus, text)) else "wikipedia"
    from prunebench.standalone.text import Source

    source = Source(tokens, corpus, text, column, seqlen, windows, bos)
    compute = prepare(dtype, batch_size, threads, device)
    from prunebench.standalone.compare import compare_models

    with resumable():
        rows = compare_models(models, source.windows, source.name, compute)
    if as_json:
        typer.echo(json.dumps([{**asdict(row), "bos": source.bos} for row in rows]))
        return
    from rich.markup import escape
    from rich.table import Column, Table

    from prunebench.assets.titles import snapshot_title

    heads = ("sparsity", "perplexity", "ratio to\nthe first", "95% interval")
    name = Column("model", overflow="fold", min_width=SHOWN)
    numbers = [Column(head, no_wrap=True) for head in heads]
    table = Table(name, *numbers, title=escape(f"on {source.name}"))
    for row in rows:
        ratio = ("", "") if row.ratio is None else (f"{row.ratio:.4f}", "{:.4f} to {:.4f}".format(*row.interval or ()))
        title = snapshot_title(Path(row.model)) or _end_of(row.model)
        table.add_row(escape(title), f"{row.sparsity:.1%}", f"{row.perplexity:.2f}", *ratio)
    _print(table)


def _as_dict(score: Score) -> dict[str, Any]:
    return {"task": score.task, "metric": score.metric, "value": score.value, "stderr": score.stderr, "n": score.n}


def _score_table(title: str, scores: list[Score]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("task", "metric", "value", "stderr", "rows", title=escape(title))
    for score in scores:
        shown = (f"{score.value:.4g}", "" if score.stderr is None else f"{score.stderr:.2g}", str(score.n))
        table.add_row(escape(score.task), score.metric, *shown)
    return table


def _end_of(path: str) -> str:
    """Shorten `path` to the end that the terminal has room for, because paths differ at their ends."""
    from rich.console import Console

    room = max(SHOWN, Console().width - OTHERS)
    return path if len(path) <= room else f"…{path[1 - room :]}"


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)
