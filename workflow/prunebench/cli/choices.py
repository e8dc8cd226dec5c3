"""Commands that list methods, allocators, suites, models and corpora, and the command `new` that adds a plug-in."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from prunebench import registry
from prunebench.cli.options import Configfile, destination
from prunebench.cli.printing import console, show
from prunebench.config.schema import CONFIG

app = typer.Typer()
new = typer.Typer(no_args_is_help=True, help="Add a method, suite, table, ... of your own from a working template.")
app.add_typer(new, name="new")


def _lister(kind: str, example: str) -> Callable[..., None]:
    def command(
        name: Annotated[str | None, typer.Argument(help="The name to show in detail.", show_default="list all")] = None,
        configfile: Configfile = CONFIG,
    ) -> None:
        from prunebench.choices.shelf import Shelf

        shelf = Shelf(kind, configfile)
        show(shelf.detail(name) if name else shelf.listing(console().width))

    command.__doc__ = f"""List the {kind} that a config can name, or show NAME in detail.

    Names come from the files of plug-ins, from config/catalog/{kind}.yaml and from the config itself.

    Example: prunebench {kind} {example}
    """
    return command


_EXAMPLES = {
    "methods": "wanda",
    "allocators": "owl",
    "suites": "ppl",
    "models": "smollm2_135m",
    "corpora": "wikipedia",
}
for _kind, _example in _EXAMPLES.items():
    app.command(_kind)(_lister(_kind, _example))


@app.command()
def init(
    directory: Annotated[
        Path, typer.Argument(parser=destination("DIRECTORY"), metavar="DIRECTORY", help="The new project.")
    ],
    study: Annotated[
        str | None,
        typer.Option(help="Begin with a study of the package, such as sparsellm-table1.", show_default="a short one"),
    ] = None,
) -> None:
    """Begin a project for a study: a short config, profiles, and a Snakefile that includes the package's.

    Example: prunebench init my_study
    """
    from prunebench.choices.project import create

    for file in create(directory, study):
        typer.echo(file)
    typer.echo(f"next: cd {shlex.quote(str(directory))}, edit {CONFIG}, and run snakemake --cores all")


def _creator(kind: str, folder: str) -> Callable[..., None]:
    def command(
        name: Annotated[str, typer.Argument(help="The name in configs, and of the file.")],
        configfile: Configfile = CONFIG,
    ) -> None:
        from prunebench.choices.new import advice, create

        typer.echo(f"{create(kind, name, configfile)}: works as it is, edit it")
        for purpose, text in advice(kind, name).items():
            typer.echo(f"{purpose:<10} {text}")

    command.__doc__ = f"""Write plugins/{folder}/NAME.py, a working {kind} with comments, for this project.

    Within a clone of prunebench it is workflow/prunebench/{folder}/NAME.py. You can use it at once, and the contract
    tests of the clone find it by themselves.

    Example: prunebench new {kind} mine
    """
    return command


for _kind, _folder in registry.KINDS.items():
    new.command(_kind)(_creator(_kind, _folder))
