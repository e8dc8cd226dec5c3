"""Commands that list methods, allocators, suites and models, and the command `new` that adds a plug-in."""

from collections.abc import Callable
from typing import Annotated

import typer

from prunebench import registry
from prunebench.cli.options import Configfile
from prunebench.config.schema import CONFIG

app = typer.Typer()
new = typer.Typer(no_args_is_help=True, help="Add a method, suite, table, ... of your own from a working template.")
app.add_typer(new, name="new")


def _lister(kind: str, example: str) -> Callable[..., None]:
    def command(
        name: Annotated[str | None, typer.Argument(help="The name to show in detail.", show_default="list all")] = None,
        configfile: Configfile = CONFIG,
    ) -> None:
        from rich.console import Console

        from prunebench.choices.shelf import Shelf

        shelf = Shelf(kind, configfile)
        Console().print(shelf.detail(name) if name else shelf.listing())

    command.__doc__ = f"""List the {kind} that a config can name, or show NAME in detail.

    Names come from the files of plug-ins, from config/catalog/{kind}.yaml and from the config itself.

    Example: prunebench {kind} {example}
    """
    return command


for _kind, _example in {"methods": "wanda", "allocators": "owl", "suites": "ppl", "models": "smollm2_135m"}.items():
    app.command(_kind)(_lister(_kind, _example))


def _creator(kind: str, folder: str) -> Callable[..., None]:
    def command(
        name: Annotated[str, typer.Argument(help="The name in configs, and of the file.")],
        configfile: Configfile = CONFIG,
    ) -> None:
        from prunebench.choices.new import advice, create

        typer.echo(f"{create(kind, name, configfile)}: works as it is, edit it")
        for purpose, text in advice(kind, name).items():
            typer.echo(f"{purpose:<10} {text}")

    command.__doc__ = f"""Write workflow/prunebench/{folder}/NAME.py, a working {kind} with comments.

    You can use it at once, and the contract tests find it by themselves.

    Example: prunebench new {kind} mine
    """
    return command


for _kind, _folder in registry.KINDS.items():
    new.command(_kind)(_creator(_kind, _folder))
