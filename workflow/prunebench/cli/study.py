"""Commands about a study, before, while and after it runs: plan, status, show, retry, collect. Run them where snakemake
runs."""

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from prunebench.cli.options import Configfile, Study
from prunebench.config.schema import CONFIG

app = typer.Typer()
REFRESH = 2.0
"""Seconds between two looks of --watch."""


@app.command()
def plan(
    study: Study = None,
    configfile: Configfile = CONFIG,
    device: Annotated[str, typer.Option(help="What it is to run on: a100, h100 or cpu.")] = "a100",
    rate: Annotated[
        list[str] | None,
        typer.Option(help="A rate of matrix products in TFLOP/s, as in float16=90; repeatable.", show_default=False),
    ] = None,
    memory: Annotated[float | None, typer.Option(help="GiB of a card.", show_default="that of the device")] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask the hub for each asset, downloading nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per study, for other programs.")] = False,
) -> None:
    """Say what STUDY takes before anything is downloaded: jobs, time, memory, cards, disk, and what has to be fetched.

    Times are counted operations over rates, for `cpu` measured (docs/performance.md), for cards assumed: take them for
    orders of magnitude, and give `--rate` what you measured. Memory and disk follow from the sizes in the catalog.
    With --check the exit code is 1 if an asset cannot be had.

    Example: prunebench plan sparsellm_table1 --configfile config/studies/sparsellm-table1.yaml --device h100
    """
    from rich.console import Console

    from prunebench.estimate import access
    from prunebench.estimate.devices import device as known
    from prunebench.estimate.devices import parse_rates
    from prunebench.estimate.estimate import Estimate
    from prunebench.estimate.show import overview, plain
    from prunebench.plan.plan import read_plan
    from prunebench.view import find

    made, machine = read_plan(configfile), known(device).changed(parse_rates(rate or []), memory)
    wrong = False
    for name in find.studies(made, study):
        estimate = Estimate.of(made, [name], machine)
        problems = access.check(estimate) if check else None
        wrong = wrong or any((problems or {}).values())
        if as_json:
            typer.echo(json.dumps(plain(name, estimate, problems)))
        else:
            Console().print(overview(name, estimate, problems))
    raise typer.Exit(wrong)


@app.command()
def status(
    study: Study = None,
    configfile: Configfile = CONFIG,
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per evaluation, for other programs.")
    ] = False,
) -> None:
    """Show how far STUDY is: a number for each finished cell, the state of the others, and reasons.

    A cell is **running**, has **failed** (it cannot be computed: a result with a reason), was **stopped** (its job
    crashed or was killed), is **skipped** (a plug-in does not do this) or **missing** (nothing was run for it under
    today's config and code). The exit code is 0 whatever the cells are: `snakemake strict` is the check for CI.

    Example: prunebench status quickstart --watch
    """
    from rich.console import Console
    from rich.live import Live

    from prunebench.plan.plan import read_plan
    from prunebench.results.current import Results, headlines, remembered
    from prunebench.view import find
    from prunebench.view.states import states
    from prunebench.view.status import overview, plain

    plan = read_plan(configfile)
    studies, results = find.studies(plan, study), Results(plan, remembered(headlines))
    if as_json:
        for state in states(plan, results, studies):
            typer.echo(json.dumps(plain(state)))
        return
    console = Console()
    if not watch:
        # Not wrapped: paths are there to be copied.
        console.print(overview(plan, states(plan, results, studies)), soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(overview(plan, states(plan, results, studies)), refresh=True)
            time.sleep(REFRESH)


@app.command()
def show(
    cell: Annotated[
        str, typer.Argument(help="The cell's path below results/pruned, or enough of it to mean no other.")
    ],
    configfile: Configfile = CONFIG,
) -> None:
    """Show all about one CELL: spec, allocation, errors, scores, cost, and for a failed one why and how to repeat it.

    Examples: prunebench show smollm2_135m/wanda/uniform/2of4/c4_type_16x512-seed0,
    prunebench show wanda/owl/0.70
    """
    from rich.console import Console

    from prunebench.plan.plan import read_plan
    from prunebench.view import find
    from prunebench.view.show import show as write

    plan = read_plan(configfile)
    write(plan, find.cell(plan, cell), Console())


@app.command()
def retry(
    study: Study = None,
    more: Annotated[
        list[str] | None, typer.Argument(help="After --, options for snakemake.", show_default=False)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The cells that failed or were stopped.")] = False,
    cores: Annotated[str, typer.Option(help="As for snakemake.")] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted and run, and stop.")] = False,
    configfile: Configfile = CONFIG,
) -> None:
    """Run again what failed or was stopped, and make the tables anew.

    What a **stopped** job had finished is used, and a plain run of snakemake would do the same. A **failed** cell is a
    result that snakemake keeps: its files are deleted first. Failures are deterministic, so it will fail again unless
    something changed that is in no spec: a library, a driver, the machine.

    Example: prunebench retry --failed --cores 4 -- --rerun-triggers mtime
    """
    from prunebench.plan.plan import read_plan
    from prunebench.upkeep import retry as again
    from prunebench.view import find
    from prunebench.view.commands import run, snakemake
    from prunebench.view.find import path_of

    if not failed:
        raise typer.BadParameter("say what is to run again: --failed", param_hint="--failed")
    if study and study.startswith("-"):  # no STUDY: what stands after -- came first
        more, study = [study, *(more or [])], None
    plan = read_plan(configfile)
    chosen = again.retryable(plan, find.studies(plan, study))
    if not chosen:
        typer.echo("nothing has failed or was stopped")
        return
    for state in chosen:
        typer.echo(f"{state.status}: {path_of(state.cell)} {state.suite}: {state.reason}")
    leftovers = again.leftovers(plan, chosen)
    command = snakemake(plan, again.targets(chosen), cores=cores, more=more or [])
    if dry_run:
        typer.echo("\n".join(f"would delete {path}" for path in leftovers))
        typer.echo(f"would run {shlex.join(command)}")
        return
    again.refuse_while_running()
    for path in leftovers:
        path.unlink()
    code = run([sys.executable, "-m", *command])
    collect(study, configfile)
    raise typer.Exit(code)


@app.command()
def collect(study: Study = None, configfile: Configfile = CONFIG) -> None:
    """Make the tables of what is valid on disk, without running anything, and print those of STUDY.

    Cells without a valid result are in them as missing. All studies of the config are written, as snakemake does.

    Example: prunebench collect --configfile config/studies/smoke.yaml
    """
    from prunebench.plan import paths
    from prunebench.plan.plan import read_plan
    from prunebench.stages.collect import write_cells
    from prunebench.stages.outputs import write_outputs
    from prunebench.view import find

    plan = read_plan(configfile)
    studies = find.studies(plan, study)
    cells = Path(paths.CELLS)
    write_cells(plan, cells)
    for table in write_outputs(plan, cells):
        if table.parent.name in studies:
            typer.echo(table.read_text(encoding="utf-8"))
