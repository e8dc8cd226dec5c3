"""Commands that keep results and take them away: accept, export."""

from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[3]
app = typer.Typer()


@app.command()
def accept(
    base: Annotated[str, typer.Option(help="Git revision whose results are to stay valid.")] = "HEAD",
) -> None:
    """Record that your edits keep the numbers, so that no finished cell runs again.

    Use it after a refactoring, before the next run of snakemake. It compares the code with revision BASE, runs the
    golden tests, and only if they pass notes the changed modules in workflow/accepted.json: commit that file.
    Do not use it for a change that is meant to change numbers: those cells have to run again.
    """
    from rich.console import Console
    from rich.table import Table

    from prunebench import accept as acceptance

    console = Console()
    with console.status("comparing with the base revision and running the golden tests"):
        recorded = acceptance.accept(base, ROOT)
    if not recorded:
        console.print("nothing to accept: the code computes what it did")
        return
    table = Table("module", "now", "counts as", title="recorded in workflow/accepted.json")
    for entry in recorded:
        table.add_row(*entry)
    console.print(table)


@app.command()
def export(
    cell: Annotated[str, typer.Argument(help="Directory of a finished cell, with or without results/pruned/.")],
    directory: Annotated[Path, typer.Argument(help="Where to; it must be empty or not be there.")],
    force: Annotated[bool, typer.Option(help="Delete what DIRECTORY holds.")] = False,
) -> None:
    """Write the pruned model of CELL to DIRECTORY, dense with zeros, for from_pretrained, lm-eval or vLLM.

    Tokenizer and configuration come with it, and prunebench.json says what was done. Run it where snakemake runs.
    """
    from prunebench.export import export as write

    record = write(cell, directory, force=force)
    sparsity, storage = record["prune"]["achieved_sparsity"], record["prune"]["spec"]["storage"]
    typer.echo(f"{directory}: {record['cell']}, {sparsity:.1%} zeros in its linears, {storage}")
