"""Commands for one model: prune, ppl, eval, compare."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunebench.cli.options import Bits, Group, Packed, destination, dtype_name, path, path_or_name
from prunebench.cli.options import sparsity as fraction
from prunebench.engine.placement.choice import AUTO, CHOICE
from prunebench.errors import PrunebenchError
from prunebench.storage.packed import packing_of

if TYPE_CHECKING:
    from rich.table import Table

    from prunebench.config.entries import Compute
    from prunebench.suites.base import Score

app = typer.Typer()

OTHERS = 60
"""The number of terminal columns that the table of `compare` needs beside the names of models."""
SHOWN = 20
"""The smallest number of letters of a model's name that this table shows."""

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        parser=path_or_name,
        help="A from_pretrained directory, a name from `models`, or owner/name[@revision] on the hub.",
    ),
]
DType = Annotated[
    str,
    typer.Option(parser=dtype_name, metavar="DTYPE", help="float32, bfloat16 or float16, for the forward passes."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows per forward pass.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads (default: all). They move numbers slightly.")]
Device = Annotated[
    str, typer.Option(envvar=CHOICE, help="auto (a GPU if there is one), cpu, or a name of torch: cuda, cuda:1, xpu.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Tokens = Annotated[Path | None, typer.Option(parser=path("--tokens"), help="Token ids, .npy, int64 [samples, seqlen].")]
Text = Annotated[Path | None, typer.Option(parser=path("--text"), help="A file or directory of text.")]
Column = Annotated[str | None, typer.Option(help="Key or column with the text. [default: text]")]
Bos = Annotated[
    bool | None,
    typer.Option("--bos/--no-bos", help="Begin windows with a BOS token; default: as the tokenizer does."),
]


@app.command()
def prune(
    model: Model,
    out: Annotated[
        Path,
        typer.Option(parser=destination("--out"), help="Directory for the pruned model; it must be empty or new."),
    ],
    sparsity: Annotated[
        float | None, typer.Option(parser=fraction(0), metavar="FRACTION", help="Fraction of zeros, such as 0.6.")
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="unstructured, or n:m such as 2of4, which keeps 2 of 4.")
    ] = "unstructured",
    method: Annotated[str | None, typer.Option(help="A name from `methods`; default: the best in our table.")] = None,
    allocator: Annotated[
        str | None, typer.Option(help="A name from `allocators`; default: uniform, or the best.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, a parameter of the method; repeatable.")] = None,
    allocator_param: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, a parameter of the allocator; repeatable.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(parser=path("--calibration"), help="Text of your own, or token ids (.npy).")
    ] = None,
    column: Column = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus for calibration. [default: c4_type]")] = None,
    bos: Bos = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Windows for calibration. [default: 128]")] = None,
    seqlen: Annotated[int | None, typer.Option(min=2, help="Tokens per window. [default: 512]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the windows and of the method.")] = 0,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    packed: Packed = False,
    bits: Bits = None,
    group: Group = None,
    force: Annotated[bool, typer.Option(help="Delete the content of OUT first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prune MODEL and write a directory for from_pretrained, with a model card and a record of what was done.

    Example: prunebench prune path/to/model --sparsity 0.6 --out path/to/pruned

    The code is that of the benchmark, so the same settings give the same weights as its cells have. Ctrl-C loses one
    block at most, and the same command goes on from there.

    --calibration takes text of your own: .txt (one document), .jsonl (a document per line, under the key --column),
    .parquet (a document per row, in the column --column), any of these as .gz, or a directory of such files. --seed
    draws --samples windows of --seqlen tokens from it. It also takes an .npy file of token ids, int64 [samples,
    seqlen], which are used as they are.
    """
    packing = packing_of(packed, bits, group)
    tokens, text = _own_calibration(calibration)
    settled = {"--samples": samples, "--seqlen": seqlen} if tokens else {}
    _check_calibration(calibration, {"--corpus": corpus, **settled})
    compute = prepare(dtype, batch_size, threads, device)
    from prunebench.standalone.recommend import recommend
    from prunebench.standalone.request import Request, feed_forward, parse_params, work

    recommended = None
    if method is None:
        if param:
            raise PrunebenchError("--param belongs to a method: name it with --method")
        best = recommend(pattern, sparsity, feed_forward(model))
        method, allocator = best.method, allocator or best.allocator
        recommended = f"{method} with {allocator}: {best.why}"
    drawn = {"corpus": corpus, "samples": samples, "seqlen": seqlen, "bos": bos}
    request = Request(
        model=model,
        method=method,
        sparsity=sparsity,
        pattern=pattern,
        allocator=allocator or "uniform",
        params=parse_params(param or []),
        allocator_params=_allocator_params(allocator, allocator_param or []),
        tokens=tokens,
        text=text,
        column=column,
        seed=seed,
        compute=compute,
        **{key: value for key, value in drawn.items() if value is not None},  # type: ignore[arg-type]
    )
    cell = work(request).cell  # This reports mistakes before the import of torch, which takes seconds.
    if not cell.calibrated and (calibration or any(value is not None for value in drawn.values())):
        raise PrunebenchError(f"{method} with {cell.allocator} looks at no text: leave out the options of calibration")
    from prunebench.standalone.run import prune_to, refuse_destination

    refuse_destination(request, out, force=force)
    if recommended:
        typer.echo(recommended, err=True)
    with resumable():
        record = prune_to(request, out, force=force, packing=packing)
    if as_json:
        typer.echo(json.dumps(record, indent=1))
    else:
        seconds, pruned = record["measured"]["seconds"], record["prune"]
        beyond = pruned["zeros_beyond_target"] / pruned["prunable_weights"]
        reason = f" ({beyond:.2%} are beyond the target: they were zero before)" if beyond else ""
        typer.echo(f"{out}: {pruned['achieved_sparsity']:.2%} zeros in its linears{reason}, pruned in {seconds:.0f} s")


@app.command()
def ppl(
    model: Model,
    tokens: Tokens = None,
    corpus: Annotated[str | None, typer.Option(help="A corpus of the catalog; its test split is used.")] = None,
    text: Text = None,
    column: Column = None,
    bos: Bos = None,
    seqlen: Annotated[int | None, typer.Option(min=2, help="Tokens per window. [default: 512]")] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="Number of first windows to use (default: all).")] = None,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the perplexity of MODEL on tokens, a corpus or a text, in windows without overlap.

    Example: prunebench ppl path/to/model --corpus wikipedia --seqlen 512

    --text takes .txt (one document), .jsonl (a document per line, under the key --column), .parquet (a document per
    row, in the column --column), any of these as .gz, or a directory of such files.
    """
    source = _Text(tokens, corpus, text, column, seqlen, windows, bos)
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
    suite: Annotated[str, typer.Option(help="A name from `suites`.")] = "zeroshot7",
    limit: Annotated[
        int | None, typer.Option(min=2, help="Rows per task, drawn by a fixed seed (default: all).")
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
    from prunebench.standalone.measure import evaluate_suite, load

    with resumable():
        scores = evaluate_suite(load(model, compute), suite, limit)
    if as_json:
        typer.echo(json.dumps([_as_dict(score) for score in scores]))
    else:
        _print(_score_table(f"{model}, {suite}", scores))


@app.command()
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL...", parser=path_or_name, help="Directories or names; the first is the reference."
        ),
    ],
    tokens: Tokens = None,
    corpus: Annotated[str | None, typer.Option(help="A corpus; its test split is used. [default: wikipedia]")] = None,
    text: Text = None,
    column: Column = None,
    bos: Bos = None,
    seqlen: Annotated[int | None, typer.Option(min=2, help="Tokens per window. [default: 512]")] = None,
    windows: Annotated[int | None, typer.Option(min=2, help="Number of first windows to use (default: all).")] = None,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare models: sparsity, perplexity on the same windows, and its ratio to the first model's.

    Example: prunebench compare path/to/model path/to/pruned --corpus wikipedia

    The 95% interval of the ratio is a paired bootstrap over windows. If it contains 1, the text does not tell the two
    models apart.
    --text takes the same files as in `ppl`.
    """
    if len(models) < 2:
        raise typer.BadParameter("name two or more models")
    corpus = corpus if any((tokens, corpus, text)) else "wikipedia"
    source = _Text(tokens, corpus, text, column, seqlen, windows, bos)
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


class _Text:
    """The text for a perplexity: token ids, a corpus of the catalog, or a user's text."""

    def __init__(
        self,
        tokens: Path | None,
        corpus: str | None,
        text: Path | None,
        column: str | None,
        seqlen: int | None,
        windows: int | None,
        bos: bool | None,
    ) -> None:
        from prunebench.assets.texts import own_documents
        from prunebench.assets.tokens import load_ids

        given = [option for option, value in (("--tokens", tokens), ("--corpus", corpus), ("--text", text)) if value]
        if len(given) != 1:
            also = f", not {' and '.join(given)}" if given else ""
            raise PrunebenchError(f"name one of --tokens, --corpus and --text{also}")
        if tokens and seqlen:
            raise PrunebenchError("--seqlen: the windows of --tokens have their length already; leave it out")
        if tokens and bos is not None:
            raise PrunebenchError("--bos: the windows of --tokens are taken as they are; leave it out")
        if column is not None and text is None:
            raise PrunebenchError("--column belongs to a text of one's own, with --text: leave it out")
        self._ids = load_ids(tokens) if tokens else None
        self._documents = own_documents(text, column) if text else []
        self._corpus, self._seqlen, self._windows, self._bos = corpus, seqlen or 512, windows, bos
        self.name = str(tokens or corpus or text)
        self.bos: bool | None = None
        """Whether the windows of the last model begin with a BOS token; None for token ids."""

    def windows(self, loaded: Any) -> Any:
        """Cut the text into windows of tokens of the model `loaded`, int64 [n, seqlen]."""
        import numpy as np

        from prunebench.standalone.measure import corpus_documents, text_windows

        if self._ids is not None:
            if len(self._ids) < (self._windows or 1):
                raise PrunebenchError(f"--windows: {self.name} has {len(self._ids)} windows, not {self._windows}")
            return np.array(self._ids[: self._windows])
        documents, limit = corpus_documents(self._corpus) if self._corpus else (self._documents, None)
        windows, self.bos = text_windows(loaded, documents, self._seqlen, self._windows, self.name, self._bos)
        return windows[: None if self._windows else limit]


def prepare(dtype: str, batch_size: int, threads: int | None, device: str) -> Compute:
    """Set threads and device before torch is imported, and show progress. Raises PrunebenchError for a wrong device."""
    from rich.console import Console
    from rich.logging import RichHandler

    from prunebench.runtime.script import set_environment
    from prunebench.standalone.request import compute_settings

    compute = compute_settings(dtype, batch_size, threads)
    set_environment(compute.threads)
    console = Console(stderr=True, highlight=False)
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler], force=True)
    if device not in (AUTO, "cpu"):
        from prunebench.engine.placement.device import best_device

        best_device(device)  # an absent one is refused before any work
    os.environ[CHOICE] = device
    return compute


@contextmanager
def resumable() -> Iterator[None]:
    """Tell a user who presses Ctrl-C that the same command goes on from here."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise


def _own_calibration(calibration: Path | None) -> tuple[Path | None, Path | None]:
    """Return (token file, None) or (None, text) for the path that --calibration names."""
    if calibration is None:
        return None, None
    return (calibration, None) if calibration.suffix.lower() == ".npy" else (None, calibration)


def _check_calibration(calibration: Path | None, others: dict[str, Any]) -> None:
    """Raise PrunebenchError for `others`, options that --calibration settles, and for a file that does not exist."""
    for option, value in others.items():
        if calibration and value is not None:
            raise PrunebenchError(f"{option}: --calibration {calibration} settles this too; leave one of them out")
    if calibration and not calibration.exists():
        raise PrunebenchError(f"--calibration: no such file: {calibration}")


def _allocator_params(allocator: str | None, texts: list[str]) -> dict[str, Any]:
    from prunebench.standalone.request import parse_params

    if texts and allocator is None:
        raise PrunebenchError("--allocator-param belongs to an allocator: name it with --allocator")
    return parse_params(texts, "--allocator-param")


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
