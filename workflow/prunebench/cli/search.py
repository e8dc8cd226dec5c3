"""The command that searches for an allocation of one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from prunebench.cli.beginning import prepare, resumable
from prunebench.cli.options import (
    OUTPUT,
    TEXT,
    AsJson,
    BatchSize,
    Device,
    DType,
    Model,
    Threads,
    count,
    file,
    fraction,
    option,
)
from prunebench.config.values import LARGEST_SEED
from prunebench.errors import PrunebenchError
from prunebench.storage.files import read_object, write_json

app = typer.Typer()

SEARCH = "Search"


@app.command()
def search(
    model: Model,
    sparsity: Annotated[
        float,
        option(
            "Of the whole model.",
            "--sparsity",
            "-s",
            panel=SEARCH,
            metavar="FRACTION",
            parser=fraction(0.01),
        ),
    ],
    space: Annotated[
        Literal["functions", "slopes"],
        option("Of dsa, or of atp.", "--space", panel=SEARCH, metavar="functions|slopes"),
    ] = "functions",
    strategy: Annotated[
        Literal["evolution", "random", "grid"],
        option("How; default evolution.", "--strategy", panel=SEARCH, metavar="evolution|random|grid"),
    ] = "evolution",
    evaluations: Annotated[int, count(1, "Runs of the model; default 100.", "--evaluations", "-n", panel=SEARCH)] = 100,
    seed: Annotated[int, count(0, "Default 0.", "--seed", most=LARGEST_SEED, panel=SEARCH)] = 0,
    corpus: Annotated[
        str, option("A corpus of the catalog; default c4_type.", "--corpus", panel=TEXT, metavar="NAME")
    ] = "c4_type",
    samples: Annotated[int, count(1, "Windows for statistics; default 16.", "--samples", panel=TEXT)] = 16,
    windows: Annotated[int, count(1, "Windows to judge by; default 8.", "--windows", "-w", panel=TEXT)] = 8,
    seqlen: Annotated[int, count(2, "Tokens per window; default 512.", "--seqlen", panel=TEXT)] = 512,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        option(
            "File to write the result to, as JSON.", "--out", "-o", panel=OUTPUT, metavar="FILE", parser=file("--out")
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for the best sparsity of each block of MODEL, by running it with trial masks on held-out text.

    Example: prunebench search path/to/model --sparsity 0.7 --evaluations 100

    Statistics come from the calibration split of the corpus, and its tuning split judges. Ctrl-C loses one evaluation
    at most, and the same command goes on from there. The result can also serve other models, methods and sparsities.
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
