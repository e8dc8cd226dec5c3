"""The command that searches for an allocation of one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from prunebench.cli.beginning import prepare, resumable
from prunebench.cli.options import AsJson, BatchSize, Device, DType, Model, Threads, count, file, fraction
from prunebench.config.values import LARGEST_SEED
from prunebench.errors import PrunebenchError
from prunebench.storage.files import read_object, write_json

app = typer.Typer()


@app.command()
def search(
    model: Model,
    sparsity: Annotated[
        float, typer.Option(parser=fraction(0.01), metavar="FRACTION", help="Zeros in the whole model, such as 0.6.")
    ],
    space: Annotated[
        Literal["functions", "slopes"], typer.Option(help="Search functions for allocator dsa, or slopes for atp.")
    ] = "functions",
    strategy: Annotated[
        Literal["evolution", "random", "grid"], typer.Option(help="How to search; grid tries every slope once.")
    ] = "evolution",
    evaluations: Annotated[int, count(1, "Largest number of runs of the model.")] = 100,
    seed: Annotated[int, count(0, "Seed of the search.", LARGEST_SEED)] = 0,
    corpus: Annotated[str, typer.Option(help="Corpus of the catalog to use.")] = "c4_type",
    samples: Annotated[int, count(1, "Windows for statistics, from the calibration split.")] = 16,
    windows: Annotated[int, count(1, "Windows to judge by, from the tuning split.")] = 8,
    seqlen: Annotated[int, count(2, "Tokens per window.")] = 512,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(parser=file("--out"), help="File to write the result to, as JSON.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for the best sparsity of each block of MODEL, by running it with trial masks on held-out text.

    Example: prunebench search path/to/model --sparsity 0.7 --evaluations 100

    Ctrl-C loses one evaluation at most, and the same command goes on from there. The result can also serve other
    models, methods and sparsities.
    """
    if out and out.exists() and not _is_result(out):
        raise PrunebenchError(f"--out: {out} holds no result of a search, and would be lost: name another file")
    compute = prepare(dtype, batch_size, threads, device)
    from prunebench.standalone.search import ALLOCATORS, SearchRequest, run_search, search_job, search_options

    options = search_options(space, strategy, evaluations, corpus, samples, windows, seqlen)
    with resumable():
        result = run_search(search_job(SearchRequest(model, sparsity, seed, options, compute)))
    if out:
        write_json(out, result)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    best, (allocator, parameter) = result["best"], ALLOCATORS[space]
    typer.echo(f"{best['candidate']}: perplexity {best['value']:.2f}, uniform {result['uniform']:.2f} (one-shot masks)")
    typer.echo(f"to prune with it: --allocator {allocator} --allocator-param '{parameter}={best['candidate']}'")


def _is_result(file: Path) -> bool:
    """Whether `file` is empty, or holds the result of a search, which a new result may replace."""
    try:
        return not file.stat().st_size or "history" in read_object(file)
    except PrunebenchError:
        return False
