"""The command that searches for an allocation of one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from prunebench.cli.options import file
from prunebench.cli.options import sparsity as fraction
from prunebench.cli.single import AsJson, BatchSize, Device, DType, Model, Threads, prepare, resumable
from prunebench.errors import PrunebenchError

app = typer.Typer()

ALLOCATORS = {"functions": ("dsa", "function"), "slopes": ("atp", "slope")}
"""For each space, the allocator that uses the result of a search, and the parameter that takes this result."""


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
    evaluations: Annotated[int, typer.Option(min=1, help="Largest number of runs of the model.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    corpus: Annotated[str, typer.Option(help="Corpus of the catalog to use.")] = "c4_type",
    samples: Annotated[int, typer.Option(min=1, help="Windows for statistics, from the calibration split.")] = 16,
    windows: Annotated[int, typer.Option(min=1, help="Windows to judge by, from the tuning split.")] = 8,
    seqlen: Annotated[int, typer.Option(min=2, help="Tokens per window.")] = 512,
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
    if strategy == "grid" and space != "slopes":
        raise PrunebenchError("--strategy: grid is for --space slopes, as there are too many functions")
    compute = prepare(dtype, batch_size, threads, device)
    options: dict[str, Any] = {
        "space": space,
        "strategy": strategy,
        "evaluations": evaluations,
        "corpus": corpus,
        "calibration": f"{corpus}_{samples}x{seqlen}",
        "windows": windows,
        "seqlen": seqlen,
    }
    from prunebench.standalone.search import SearchRequest, run_search

    with resumable():
        result = run_search(SearchRequest(model, sparsity, seed, options, compute))
    if out:
        from prunebench.storage.files import write_json

        write_json(out, result)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    best, (allocator, parameter) = result["best"], ALLOCATORS[space]
    typer.echo(f"{best['candidate']}: perplexity {best['value']:.2f}, uniform {result['uniform']:.2f} (one-shot masks)")
    typer.echo(f"to prune with it: --allocator {allocator} --allocator-param '{parameter}={best['candidate']}'")
