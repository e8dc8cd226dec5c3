"""Commands that keep results and the place in order, or take them elsewhere: accept, export, gc, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import destination, path

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

    from prunebench.identity import accept as acceptance

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
    directory: Annotated[
        Path, typer.Argument(parser=destination("DIRECTORY"), help="Where to; it must be empty or not be there.")
    ],
    force: Annotated[bool, typer.Option(help="Delete what DIRECTORY holds.")] = False,
) -> None:
    """Write the pruned model of CELL to DIRECTORY, dense with zeros, for from_pretrained, lm-eval or vLLM.

    Tokenizer and configuration come with it, and prunebench.json says what was done. Run it where snakemake runs.
    """
    from prunebench.standalone.export import export as write

    record = write(cell, directory, force=force)
    sparsity, storage = record["prune"]["achieved_sparsity"], record["prune"]["spec"]["storage"]
    typer.echo(f"{directory}: {record['cell']}, {sparsity:.1%} zeros in its linears, {storage}")


@app.command()
def gc(
    configfile: Annotated[
        list[Path] | None,
        typer.Option(
            parser=path("--configfile"), help="A config whose results are wanted too; repeatable.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them.")] = False,
    downloads: Annotated[bool, typer.Option("--downloads", help="Also models, texts and tasks in resources/.")] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also what killed jobs would resume from.")] = False,
) -> None:
    """List results, logs and scratch that no study wants, with their sizes; delete them with --yes.

    Wanted is what config/config.yaml, config/studies/*.yaml and each --configfile give. A file that the pipeline does
    not make under that name is never touched, nor one that a running job or snakemake has in hand.

    Example: prunebench gc --configfile my_study.yaml --yes
    """
    from rich.filesize import decimal

    from prunebench.config.schema import CONFIG
    from prunebench.plan.plan import read_plan
    from prunebench.upkeep.garbage import delete, orphans

    files = [CONFIG, *sorted(CONFIG.parent.glob("studies/*.yaml")), *(configfile or [])]
    found = orphans(map(read_plan, files), downloads=downloads, unfinished=unfinished)
    total = f"{len(found)} orphans, {decimal(sum(orphan.bytes for orphan in found))}"
    if yes:
        delete(found)
        typer.echo(f"deleted {total}")
        return
    for orphan in found:
        typer.echo(f"{decimal(orphan.bytes):>9}  {orphan.what:<10}  {orphan.path}")
    typer.echo(f"{total}{'; --yes deletes them' if found else ''}")


@app.command()
def doctor() -> None:
    """Look for what will make trouble here: versions, GPU, processors, memory, disk, locks. Says what to do about it.

    The exit code is 1 if there is a problem; a warning is something that works, but not as it should.

    Example: prunebench doctor
    """
    from prunebench.upkeep.doctor import examine

    colours = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}
    worst = 0
    for finding in examine(ROOT):
        level = typer.style(f"{finding.level:<8}", fg=colours[finding.level])
        typer.echo(f"{level} {finding.subject:<10} {finding.text}")
        if finding.advice:
            typer.echo(f"{'':>20}-> {finding.advice}")
        worst = max(worst, finding.level == "problem")
    raise typer.Exit(worst)
