"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from prunebench.config.schema import CONFIG

Configfile = Annotated[
    Path, typer.Option(help="The config whose studies are meant, as for snakemake.", show_default=str(CONFIG))
]
Study = Annotated[str | None, typer.Argument(help="A study of the config.", show_default="all of them")]
