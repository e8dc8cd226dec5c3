"""The `prunebench` command serves users beside snakemake. Each group of its commands has a module."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from prunebench import __version__
from prunebench.cli import choices, measure, prune, search, speed, study, upkeep
from prunebench.errors import PrunebenchError, disk_errors_told
from prunebench.standalone.wording import as_options


class _Commands(TyperGroup):
    """Ends all commands in the same way: a PrunebenchError prints a red message and no traceback, Ctrl-C one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with disk_errors_told():
                return super().invoke(ctx)
        except PrunebenchError as error:
            typer.secho(f"error: {as_options(str(error), self._options(ctx))}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None

    def _options(self, ctx: Any) -> set[str]:
        """Return the options of the command that runs."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        return {option for parameter in command.params for option in parameter.opts} if command else set()


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"prunebench {__version__}")
        raise typer.Exit


@app.callback()
def prunebench(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """A benchmark of LLM pruning. Snakemake runs it; these commands prune single models and help with studies."""


for module in (prune, measure, speed, search, study, upkeep, choices):
    app.add_typer(module.app)
