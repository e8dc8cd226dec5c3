"""The `prunebench` command serves users beside snakemake. Each group of its commands has a module."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from prunebench import __version__
from prunebench.cli import choices, measure, prune, search, speed, study, upkeep
from prunebench.errors import PrunebenchError, disk_errors_told
from prunebench.standalone.wording import as_options

_UsageError: Any = typer.BadParameter.__base__
"""The error of a wrong command line, which typer has under a private name."""


class _Commands(TyperGroup):
    """Ends all commands in the same way: an error prints a red message and no traceback, Ctrl-C one line.

    A wrong line of a command is told in such a line too. Typer would break it, with the path in it, to fit into a
    frame, as it does with a wrong option before the command.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            with disk_errors_told():
                return super().invoke(ctx)
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # its message is the page of help, which stands there now
                raise
            context = error.ctx or ctx
            self._tell(error.format_message())
            typer.echo(f"{context.get_usage()}\n{context.command_path} --help says more", err=True)
            raise typer.Exit(error.exit_code) from None
        except PrunebenchError as error:
            self._tell(as_options(str(error), self._options(ctx)))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None

    def _tell(self, message: str) -> None:
        typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)

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
