"""Commands about a study: plan, status, show, retry, collect. Run them in the directory where snakemake runs."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.cli import printing
from prunebench.cli.options import Configfile, Study, fraction, option, path_or_name
from prunebench.config.schema import CONFIG
from prunebench.errors import PrunebenchError

if TYPE_CHECKING:
    from prunebench.estimate.devices import Device

app = typer.Typer()
REFRESH = 2.0
"""Seconds between two updates of --watch."""


@app.command()
def plan(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY|MODEL",
            parser=path_or_name("STUDY"),
            help="A study of the config; with --sparsity or --method, a model as for `prune`.",
            show_default="all studies",
        ),
    ] = None,
    configfile: Configfile = CONFIG,
    sparsity: Annotated[
        float | None,
        option("For MODEL: fraction of zeros.", "--sparsity", "-s", metavar="FRACTION", parser=fraction(0)),
    ] = None,
    method: Annotated[
        str | None, option("For MODEL: from `methods`; default: our choice.", "--method", "-m", metavar="NAME")
    ] = None,
    pattern: Annotated[
        str | None, option("For MODEL: 2of4, in place of -s.", "--pattern", "-p", metavar="NofM")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Plan for a100, h100 or cpu.", show_default="the GPU or CPU of this machine")
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(help="Measured rate in TFLOP/s, such as float16=90; repeatable.", show_default=False),
    ] = None,
    memory: Annotated[
        float | None, typer.Option(help="Memory of a card in GiB.", show_default="that of the device")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask the hub for each asset without a download.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per study.")] = False,
) -> None:
    """Estimate what STUDY or the pruning of one MODEL needs, before any download: time, memory, disk and downloads.

    A time is a number of operations divided by a rate. Rates are measured for `cpu` (docs/performance.md) and assumed
    for cards, so times are orders of magnitude; give your own measurements with --rate. Memory and disk follow from
    the sizes in the catalog. With --check the exit code is 1 if an asset is not available.

    In a project, jobs with a valid result are left out.

    Example: prunebench plan sparsellm_table1 --configfile config/studies/sparsellm-table1.yaml --device h100

    Example: prunebench plan llama2_7b --sparsity 0.5 --method sparsegpt --device a100
    """
    from prunebench.choices.project import way_to
    from prunebench.estimate import access
    from prunebench.estimate.devices import device as known
    from prunebench.estimate.devices import parse_rates, this_machine
    from prunebench.estimate.estimate import Estimate
    from prunebench.estimate.show import overview, plain
    from prunebench.plan import graph
    from prunebench.plan.plan import read_plan
    from prunebench.results import configs
    from prunebench.results.done import done_jobs

    machine = (known(device) if device else this_machine()).changed(parse_rates(rate or []), memory)
    if method or pattern or sparsity is not None:
        if study is None:
            raise PrunebenchError("name the model first: prunebench plan MODEL --sparsity 0.5")
        if check or configfile != CONFIG:
            raise PrunebenchError(
                "--sparsity, --method and --pattern belong to one MODEL, which is named first, without --configfile "
                "and --check: prunebench plan MODEL --sparsity 0.5"
            )
        _plan_model(study, method, sparsity, pattern, machine, as_json)
        return
    plan = read_plan(configfile)
    missing, done = False, done_jobs(plan, graph.jobs_of_all(plan))
    if study and study not in plan.studies and ("/" in study or Path(study).is_dir() or study in plan.config.models):
        raise PrunebenchError(f"{study} is a model and no study: add --sparsity 0.5, or --pattern 2of4")
    studies = configs.studies(plan, study)
    if not as_json and (way := way_to(configfile)):
        typer.echo(way)
    for name in studies:
        estimate = Estimate.of(plan, [name], machine, done)
        problems = access.check(estimate) if check else None
        missing = missing or any((problems or {}).values())
        if as_json:
            typer.echo(json.dumps(plain(name, estimate, problems)))
        else:
            printing.show(overview(name, estimate, problems))
    raise typer.Exit(missing)


def _plan_model(
    model: str, method: str | None, sparsity: float | None, pattern: str | None, machine: Device, as_json: bool
) -> None:
    """Print what the pruning of one model takes."""
    from prunebench.runtime.lines import aligned
    from prunebench.standalone.planned import lines, plain, planned
    from prunebench.standalone.request import Request

    needs = planned(Request(model, method, sparsity, pattern or "unstructured", stored=False), machine)
    if as_json:
        typer.echo(json.dumps(plain(needs)))
    else:
        printing.show(aligned(list(lines(needs))))


@app.command()
def status(
    study: Study = None,
    configfile: Configfile = CONFIG,
    watch: Annotated[bool, typer.Option("--watch", help="Update the display until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per evaluation.")] = False,
) -> None:
    """Show how far STUDY is: a number for each finished cell, and the state of each other cell with its reason.

    A cell is **running**, has **failed** (it cannot be computed, and its result is a reason), was **stopped** (its job
    crashed or was killed), is **skipped** (a plug-in cannot do it) or is **missing** (nothing has run for it with the
    present config and code). The exit code is 0 in all cases; for CI there is `snakemake strict`.

    Example: prunebench status quickstart --watch
    """
    from rich.live import Live

    from prunebench.plan.plan import project_plan
    from prunebench.results import configs
    from prunebench.results.current import Results, headlines, remembered
    from prunebench.view.states import states
    from prunebench.view.status import overview, plain, watched

    plan = project_plan(configfile)
    studies, results = configs.studies(plan, study), Results(plan, remembered(headlines))
    if as_json:
        for state in states(plan, results, studies):
            typer.echo(json.dumps(plain(state)))
        return
    if not watch:
        now = states(plan, results, studies)
        printing.show(overview(plan, now))
        if not any(state.status == "ok" for state in now) and (others := configs.other_configs(plan)):
            typer.echo(others)
        return
    with Live(console=printing.console(), auto_refresh=False) as live:
        while True:
            live.update(watched(plan, states(plan, results, studies)), refresh=True)
            time.sleep(REFRESH)


@app.command()
def show(
    cell: Annotated[str, typer.Argument(help="The cell's path below results/pruned, or a part that fits no other.")],
    configfile: Configfile = CONFIG,
) -> None:
    """Show everything about one CELL: spec, allocation, errors, scores and cost, and how to repeat it if it failed.

    Examples: prunebench show smollm2_135m/wanda/uniform/2of4/c4_type_16x512-seed0,
    prunebench show wanda/owl/0.70
    """
    from prunebench.plan import find
    from prunebench.plan.plan import project_plan
    from prunebench.results import configs
    from prunebench.view.show import detail

    plan = project_plan(configfile)
    try:
        chosen = find.cell(plan, cell)
    except PrunebenchError as error:
        raise PrunebenchError("\n".join(filter(None, (str(error), configs.other_configs(plan))))) from None
    printing.show(*detail(plan, chosen))


@app.command()
def retry(
    study: Study = None,
    more: Annotated[
        list[str] | None, typer.Argument(help="Options for snakemake, after --.", show_default=False)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The default, spelled out.", show_default=False)] = True,
    cores: Annotated[str, typer.Option(help="CPU cores, as for snakemake.")] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be deleted and run.")] = False,
    configfile: Configfile = CONFIG,
) -> None:
    """Run cells again that failed or were stopped, and write the tables anew.

    A **stopped** job goes on from what it had finished, as it does in a plain run of snakemake. A **failed** cell is a
    result that snakemake keeps, so its files are deleted first. It will fail again unless something has changed that is
    in no spec: a library, a driver, the machine.

    Example: prunebench retry --cores 4 -- --rerun-triggers mtime
    """
    from prunebench.plan.find import path_of
    from prunebench.plan.plan import project_plan
    from prunebench.results import configs
    from prunebench.upkeep import retry as again
    from prunebench.view.commands import run, snakemake

    if study and study.startswith("-"):  # Without STUDY, the first word after -- took its place.
        more, study = [study, *(more or [])], None
    plan = project_plan(configfile)
    chosen = again.retryable(plan, configs.studies(plan, study))
    if not chosen:
        missing = again.missing(plan, configs.studies(plan, study))
        way = shlex.join(snakemake(plan, [], cores=cores, more=more or []))
        typer.echo("nothing has failed or was stopped" + (f"; {missing} have not run yet: {way}" if missing else ""))
        if others := configs.other_configs(plan):
            typer.echo(others)
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
    """Write the tables from the valid results on disk, without running anything, and print the tables of STUDY.

    Cells without a valid result count as missing. The tables of all studies of the config are written. The default
    config must have been run, because it may be the example of `prunebench init`.

    Example: prunebench collect --configfile config/studies/smoke.yaml
    """
    from prunebench.plan.plan import project_plan
    from prunebench.results import configs
    from prunebench.results.current import Results
    from prunebench.stages.collect import write_cells
    from prunebench.stages.outputs import write_outputs
    from prunebench.upkeep.known import check_begun, remember, write_index

    plan = project_plan(configfile)
    studies = configs.studies(plan, study)
    if configfile == CONFIG:
        check_begun(plan, Results(plan))
    cells = plan.job("collect").outputs[0]
    remember(plan)
    write_cells(plan, cells)
    made = write_outputs(plan, cells)
    write_index()
    for table in made:
        if table.parent.name in studies:
            typer.echo(table.read_text(encoding="utf-8"))
