"""The command that prunes one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from prunebench.cli.beginning import prepare, resumable
from prunebench.cli.options import (
    AsJson,
    BatchSize,
    Bits,
    Bos,
    Column,
    Device,
    DType,
    Group,
    Model,
    Packed,
    Seqlen,
    Threads,
    count,
    destination,
    fraction,
    path,
)
from prunebench.config.values import LARGEST_SEED
from prunebench.errors import PrunebenchError
from prunebench.storage.packed import packing_of

app = typer.Typer()


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
    samples: Annotated[int | None, count(1, "Windows for calibration. [default: 128]")] = None,
    seqlen: Seqlen = None,
    seed: Annotated[int, count(0, "Seed of the windows and of the method.", LARGEST_SEED)] = 0,
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
    from prunebench.standalone.prepare import prepared
    from prunebench.standalone.request import Request, parse_params

    drawn = {"corpus": corpus, "samples": samples, "seqlen": seqlen, "bos": bos}
    request = Request(
        model=model,
        method=method,
        sparsity=sparsity,
        pattern=pattern,
        allocator=allocator,
        params=parse_params(param or []),
        allocator_params=parse_params(allocator_param or [], "--allocator-param"),
        tokens=tokens,
        text=text,
        column=column,
        seed=seed,
        compute=compute,
        **{key: value for key, value in drawn.items() if value is not None},  # type: ignore[arg-type]
    )
    unread = [f"--{option}" for option, value in {"calibration": calibration, **drawn}.items() if value is not None]
    ready = prepared(request, unread)  # This reports mistakes before the import of torch, which takes seconds.
    from prunebench.standalone.run import prune_to, refuse_destination

    refuse_destination(request, out, force=force)
    if ready.why:
        typer.echo(ready.why, err=True)
    with resumable():
        record = prune_to(ready, out, force=force, packing=packing)
    if as_json:
        typer.echo(json.dumps(record, indent=1))
    else:
        seconds, pruned = record["measured"]["seconds"], record["prune"]
        beyond = pruned["zeros_beyond_target"] / pruned["prunable_weights"]
        reason = f" ({beyond:.2%} are beyond the target: they were zero before)" if beyond else ""
        typer.echo(f"{out}: {pruned['achieved_sparsity']:.2%} zeros in its linears{reason}, pruned in {seconds:.0f} s")


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
