"""The command that prunes one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from prunebench.cli.beginning import prepare, resumable
from prunebench.cli.options import (
    OUTPUT,
    AsJson,
    BatchSize,
    Bits,
    Device,
    DType,
    Group,
    Model,
    Packed,
    Threads,
    count,
    destination,
    fraction,
    option,
    path,
)
from prunebench.config.values import LARGEST_SEED
from prunebench.errors import PrunebenchError
from prunebench.storage.packed import packing_of

app = typer.Typer()

PRUNING, CALIBRATION = "Pruning", "Calibration text"


@app.command()
def prune(
    model: Model,
    out: Annotated[
        Path,
        option(
            "Directory of the pruned model, empty or new.",
            "--out",
            "-o",
            panel=OUTPUT,
            metavar="DIR",
            parser=destination("--out"),
        ),
    ],
    sparsity: Annotated[
        float | None,
        option(
            "Fraction of zeros, such as 0.6.", "--sparsity", "-s", panel=PRUNING, metavar="FRACTION", parser=fraction(0)
        ),
    ] = None,
    pattern: Annotated[
        str, option("2of4 keeps 2 of 4, in place of -s.", "--pattern", "-p", panel=PRUNING, metavar="NofM")
    ] = "unstructured",
    method: Annotated[
        str | None,
        option("From `methods`; default: our choice.", "--method", "-m", panel=PRUNING, metavar="NAME"),
    ] = None,
    param: Annotated[
        list[str] | None,
        option("Of the method; repeatable.", "--param", panel=PRUNING, metavar="NAME=VALUE"),
    ] = None,
    allocator: Annotated[
        str | None, option("From `allocators`; default uniform.", "--allocator", "-a", panel=PRUNING, metavar="NAME")
    ] = None,
    allocator_param: Annotated[
        list[str] | None,
        option("Of the allocator; repeatable.", "--allocator-param", panel=PRUNING, metavar="NAME=VALUE"),
    ] = None,
    seed: Annotated[int, count(0, "Of all random numbers; default 0.", "--seed", most=LARGEST_SEED, panel=PRUNING)] = 0,
    calibration: Annotated[
        Path | None,
        option(
            "Text of your own, or token ids (.npy).",
            "--calibration",
            "-c",
            panel=CALIBRATION,
            metavar="PATH",
            parser=path("--calibration"),
        ),
    ] = None,
    column: Annotated[
        str | None, option("Key or column of it; default text.", "--column", panel=CALIBRATION, metavar="NAME")
    ] = None,
    corpus: Annotated[
        str | None, option("Of the catalog; default c4_type.", "--corpus", panel=CALIBRATION, metavar="NAME")
    ] = None,
    samples: Annotated[int | None, count(1, "Windows; default 128.", "--samples", "-n", panel=CALIBRATION)] = None,
    seqlen: Annotated[int | None, count(2, "Tokens per window; default 512.", "--seqlen", panel=CALIBRATION)] = None,
    bos: Annotated[
        bool | None, option("BOS first; default: the tokenizer's.", "--bos/--no-bos", panel=CALIBRATION)
    ] = None,
    dtype: DType = "bfloat16",
    batch_size: BatchSize = 8,
    threads: Threads = None,
    device: Device = "auto",
    packed: Packed = False,
    bits: Bits = None,
    group: Group = None,
    force: Annotated[bool, option("Delete the content of DIR first.", "--force", "-f", panel=OUTPUT)] = False,
    as_json: AsJson = False,
) -> None:
    """Prune MODEL and write a directory for from_pretrained, with a model card and a record of what was done.

    Example: prunebench prune path/to/model --sparsity 0.6 --out path/to/pruned

    Ctrl-C loses one block at most, and the same command goes on from there. --calibration takes .txt, .jsonl, .parquet,
    .gz of these, a directory of them, or token ids, which are used as they are.
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

    refuse_destination(ready, out, force=force)
    for note in ready.notes:
        typer.echo(note, err=True)
    with resumable():
        record = prune_to(ready, out, force=force, packing=packing)
    if as_json:
        typer.echo(json.dumps(record, indent=1))
    else:
        from prunebench.standalone.export import packed_in_words

        form = f"; packed, {packed_in_words(out)}" if packing else ""
        typer.echo(f"{out}: {in_words(record)}{form}")


def in_words(record: dict[str, Any]) -> str:
    """Say what the record of a pruning, the content of prunebench.json, says of zeros and time."""
    measured, pruned = record["measured"], record["prune"]
    beyond = f"{pruned['zeros_beyond_target'] / pruned['prunable_weights']:.2%}"
    reason = f" ({beyond} are beyond the target: they were zero before)" if beyond != f"{0:.2%}" else ""
    before = measured["resumed_at"]
    resumed = f", resumed after {before} block{'s' if before > 1 else ''} of an earlier run" if before else ""
    zeros = f"{pruned['achieved_sparsity']:.2%} zeros in its linears{reason}"
    return f"{zeros}, pruned in {measured['seconds']:.0f} s{resumed}"


def _own_calibration(calibration: Path | None) -> tuple[Path | None, Path | None]:
    """Return (token file, None) or (None, text) for the path that --calibration names."""
    if calibration is None:
        return None, None
    return (calibration, None) if calibration.suffix.lower() == ".npy" else (None, calibration)


def _check_calibration(calibration: Path | None, others: dict[str, Any]) -> None:
    """Raise PrunebenchError for `others`, options that --calibration settles, and for a file that does not exist."""
    for name, value in others.items():
        if calibration and value is not None:
            raise PrunebenchError(f"{name}: --calibration {calibration} settles this too; leave one of them out")
    if calibration and not calibration.exists():
        from prunebench.standalone.request import no_file

        raise no_file("--calibration", calibration)
