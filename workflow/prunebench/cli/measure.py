"""Commands that measure models on text and tasks: ppl, eval, compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunebench.cli.beginning import prepare, resumable
from prunebench.cli.options import (
    OUTPUT,
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
    destination,
    option,
    path_or_name,
)
from prunebench.cli.printing import console, show
from prunebench.errors import PrunebenchError

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
    out: Annotated[
        Path | None,
        option(
            "Also write lm-eval's and other formats there.", "--out", "-o", panel=OUTPUT, metavar="DIR",
            parser=destination("--out"),
        ),
    ] = None,
    samples: Annotated[bool, option("With --out: each row, as lm-eval does.", "--samples", panel=OUTPUT)] = False,
    as_csv: Annotated[bool, option("Print CSV.", "--csv", panel=OUTPUT)] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Evaluate MODEL on a suite of the catalog, or on single tasks: zero-shot tasks, or perplexity.

    Example: prunebench eval path/to/model --suite zeroshot7 --limit 100

    The interval of an accuracy is Wilson's, of 95%. --out writes scores.csv, every_eval_ever.json (the schema of Every
    Eval Ever), and lm-eval's results_DATE.json and samples_TASK_DATE.jsonl.
    """
    if samples and not out:
        raise PrunebenchError("--samples: the rows are written to files: name a directory with --out")
    if as_csv and as_json:
        raise PrunebenchError("--csv and --json: choose one of them")
    compute = prepare(dtype, batch_size, threads, device)
    from prunebench.standalone.evaluation import evaluation

    chosen = evaluation(suite, task or (), limit, compute)
    from prunebench.standalone import records
    from prunebench.standalone.measure import load

    if out:
        records.make_folder(out, "--out")
    with resumable():
        evaluated = chosen.run(load(model, compute), record=out is not None, samples=samples)
    files = records.write(evaluated, out) if out else []
    if as_json:
        typer.echo(json.dumps([records.plain(score) for score in evaluated.scores]))
    elif as_csv:
        typer.echo(records.as_csv(evaluated.scores), nl=False)
    else:
        show(_score_table(f"{model}, {chosen.title}", evaluated.scores))
    for file in files:
        typer.echo(file, err=True)


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

    The 95% interval of the ratio compares the models window by window. If it contains 1, the text does not tell the two
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
        shape = dict(zip(("windows", "seqlen"), source.shape or (), strict=False))
        typer.echo(json.dumps([{**asdict(row), "bos": source.bos, **shape} for row in rows]))
        return
    from rich.markup import escape
    from rich.table import Column, Table

    from prunebench.assets.titles import snapshot_title

    heads = ("sparsity", "perplexity", "ratio to\nthe first", "95% interval")
    name = Column("model", overflow="fold", min_width=SHOWN)
    numbers = [Column(head, no_wrap=True) for head in heads]
    table = Table(name, *numbers, title=escape(f"on {source.title}"))
    for row in rows:
        ratio = ("", "") if row.ratio is None else (f"{row.ratio:.4f}", "{:.4f} to {:.4f}".format(*row.interval or ()))
        title = snapshot_title(Path(row.model)) or _end_of(row.model)
        table.add_row(escape(title), f"{row.sparsity:.1%}", f"{row.perplexity:.2f}", *ratio)
    show(table)


def _as_dict(score: Score) -> dict[str, Any]:
    return {"task": score.task, "metric": score.metric, "value": score.value, "stderr": score.stderr, "n": score.n}


def _score_table(title: str, scores: list[Score]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from prunebench.standalone.records import plain

    table = Table("task", "metric", "value", "stderr", "95% interval", "rows", title=escape(title))
    for row in map(plain, scores):
        error = "" if row["stderr"] is None else f"{row['stderr']:.2g}"
        interval = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        table.add_row(escape(row["task"]), row["metric"], f"{row['value']:.4g}", error, interval, str(row["n"]))
    return table


def _end_of(path: str) -> str:
    """Shorten `path` to the end that the terminal has room for, because paths differ at their ends."""
    room = max(SHOWN, console().width - OTHERS)
    return path if len(path) <= room else f"…{path[1 - room :]}"
