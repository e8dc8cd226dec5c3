"""Options and arguments that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from prunebench.config.schema import CONFIG
from prunebench.storage.files import named_destination, named_path


def path(option: str) -> Callable[[str], Path]:
    """What reads the value of `option` (for typer); PrunebenchError if no file or directory can be meant."""

    def path(value: str) -> Path:
        return named_path(value, option)

    return path


def destination(option: str) -> Callable[[str], Path]:
    """What reads the name of a directory to be written; PrunebenchError if none can be called that."""

    def path(value: str) -> Path:
        return named_destination(value, option)

    return path


def path_or_name(value: str) -> str:
    """What reads MODEL: text, as it may be a name of the catalog; PrunebenchError if it can be neither."""
    named_path(value, "MODEL")
    return value


Configfile = Annotated[
    Path,
    typer.Option(
        parser=path("--configfile"),
        help="The config whose studies are meant, as for snakemake.",
        show_default=str(CONFIG),
    ),
]
Study = Annotated[str | None, typer.Argument(help="A study of the config.", show_default="all of them")]
