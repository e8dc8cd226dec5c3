"""Commands that keep results and the machine in order, or take them elsewhere: accept, export, push, gc, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import Bits, Group, Packed, destination, option, path, path_or_name
from prunebench.cli.printing import console, show
from prunebench.config.packaged import IN_CHECKOUT, ROOT
from prunebench.errors import PrunebenchError
from prunebench.storage.packed import packing_of

app = typer.Typer()


@app.command()
def accept(
    base: Annotated[str, typer.Option(help="Git revision whose results shall stay valid.")] = "HEAD",
) -> None:
    """Record that your edits do not change numbers, so that no finished cell runs again.

    Use it after a refactoring, before the next run of snakemake. It compares the code with revision BASE and runs the
    golden tests. If they pass, it notes the changed modules in workflow/prunebench/accepted.json; commit that file. Do
    not use it for an edit that is meant to change numbers, because then cells have to run again.
    """
    from rich.table import Table

    from prunebench.identity import accept as acceptance

    if not IN_CHECKOUT:
        raise PrunebenchError("accept compares revisions of a checkout, and this package is none: use a clone")
    with console().status("comparing with the base revision and running the golden tests"):
        recorded = acceptance.accept(base, ROOT)
    if not recorded:
        typer.echo("nothing to accept: the code computes what it did before")
        return
    table = Table("module", "now", "counts as", title="recorded in workflow/prunebench/accepted.json")
    for entry in recorded:
        table.add_row(*entry)
    show(table)


@app.command()
def export(
    cell: Annotated[
        str,
        typer.Argument(
            parser=path_or_name("CELL"),
            help="A finished cell, as for `show` (wanda/owl/0.70), or a model directory to pack or unpack.",
        ),
    ],
    directory: Annotated[
        Path, typer.Argument(parser=destination("DIRECTORY"), help="Directory to write; it must be empty or new.")
    ],
    packed: Packed = False,
    dense: Annotated[bool, typer.Option("--dense", help="Write a packed model directory densely again.")] = False,
    bits: Bits = None,
    group: Group = None,
    force: Annotated[bool, typer.Option(help="Delete the content of DIRECTORY first.")] = False,
) -> None:
    """Write the pruned model of CELL to DIRECTORY, with pruned weights as zeros, for from_pretrained, lm-eval or vLLM.

    The directory also has the tokenizer, the configuration, and prunebench.json, a record of how the model was pruned.
    Run the command where snakemake runs.

    With --packed the zeros are left out: the file is smaller, and prunebench.load, ppl, eval and speed read it.
    CELL may then also be a model directory, such as an earlier export. --dense makes a dense model of a packed one.
    """
    from prunebench.standalone.export import export_or_repack, packed_in_words

    record = export_or_repack(cell, directory, packing_of(packed, bits, group), dense=dense, force=force)
    form = f", packed, {packed_in_words(directory)}" if packed else ""
    if record is None:
        typer.echo(f"{directory}: {cell}{form or ', dense'}")
        return
    sparsity, storage = record["prune"]["achieved_sparsity"], record["prune"]["spec"]["storage"]
    typer.echo(f"{directory}: {record['cell']}, {sparsity:.1%} zeros in its linears, {storage}{form}")


@app.command()
def push(
    directory: Annotated[
        Path,
        typer.Argument(parser=path("DIRECTORY"), metavar="DIRECTORY", help="A model that prune or export has written."),
    ],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the Hugging Face hub.")],
    results: Annotated[
        list[Path] | None,
        option(
            "A directory that eval --out wrote; repeatable.", "--results", "-r", metavar="DIR", parser=path("--results")
        ),
    ] = None,
    private: Annotated[bool, option("Only you may see the repository.", "--private")] = False,
    message: Annotated[str | None, option("Of the commit.", "--message", metavar="TEXT")] = None,
) -> None:
    """Upload a pruned model to the Hugging Face hub: its files, model card and record, and evaluation results.

    Example: prunebench push path/to/pruned my-name/my-model-pruned --private

    The repository is made if it is not there. Scores of --results stand in the card, in .eval_results for the model's
    page, and in prunebench_evaluation.json. A token that may write is needed (HF_TOKEN, or hf auth login). After an
    interruption, the same command goes on.
    """
    from prunebench.cli.beginning import resumable
    from prunebench.standalone.push import prepare

    upload = prepare(directory, repo, results or (), private=private)
    with resumable():
        typer.echo(upload.send(message))


@app.command()
def gc(
    configfile: Annotated[
        list[Path] | None,
        typer.Option(
            parser=path("--configfile"), help="A further config whose results are kept; repeatable.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the listed files.")] = False,
    downloads: Annotated[
        bool, typer.Option("--downloads", help="Include models, texts and tasks in resources/.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Include files that killed jobs would resume from.")
    ] = False,
) -> None:
    """List results, logs and scratch files that no study needs, with their sizes, and delete them with --yes.

    The studies are those of each --configfile and of every config that was run here: as its file is now, or if the file
    has gone, as results/of/NAME/config.json (or results/config.json) knows it. Delete that record to let such a study
    go. Files that the pipeline does not write, and files that a running job or snakemake uses, are never touched.

    Example: prunebench gc --configfile my_study.yaml --yes
    """
    from rich.filesize import decimal

    from prunebench.plan.plan import check_project, read_plan
    from prunebench.upkeep.garbage import delete, orphans
    from prunebench.upkeep.known import known

    check_project()
    plans = [*map(read_plan, configfile or []), *known()]
    unneeded = orphans(plans, downloads=downloads, unfinished=unfinished)
    if unneeded and not plans:
        raise PrunebenchError(
            "no config was run here, so every result would go: name each config whose results shall stay with "
            "--configfile"
        )
    total = f"{len(unneeded)} orphans, {decimal(sum(orphan.bytes for orphan in unneeded))}"
    if yes:
        delete(unneeded)
        typer.echo(f"deleted {total}")
        return
    for orphan in unneeded:
        typer.echo(f"{decimal(orphan.bytes):>9}  {orphan.kind:<10}  {orphan.path}")
    typer.echo(f"{total}{'; --yes deletes them' if unneeded else ''}")


@app.command()
def unlock(
    yes: Annotated[bool, typer.Option("--yes", help="Also if the holder may run on another machine.")] = False,
) -> None:
    """Remove the locks that a killed snakemake has left on this directory.

    The command refuses while the holder runs. The next run of snakemake removes such locks by itself if the holder ran
    on this machine since it was started.

    Example: prunebench unlock
    """
    from prunebench.upkeep import runs

    typer.echo("unlocked" if runs.unlock(force=yes) else "nothing is locked")


@app.command()
def doctor() -> None:
    """Look for causes of trouble on this machine (versions, GPU, CPUs, memory, disk, locks), and give advice.

    The exit code is 1 if there is a problem. A warning means that something works, but not as it should.

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
