"""Options and arguments that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from prunebench.config.schema import CONFIG
from prunebench.config.values import DTYPES, LARGEST_COUNT, dtype_named
from prunebench.engine.placement.choice import CHOICE
from prunebench.errors import PrunebenchError
from prunebench.patterns import sparsity_text
from prunebench.registry import did_you_mean
from prunebench.storage.files import named_destination, named_file, named_path


def path(option: str) -> Callable[[str], Path]:
    """Make a parser (for typer) of the path that `option` takes. It raises PrunebenchError for text that is no path."""

    def path(value: str) -> Path:
        return named_path(value, option)

    return path


def destination(option: str) -> Callable[[str], Path]:
    """Return a parser (for typer) of a directory to be written. It raises PrunebenchError for an impossible name."""

    def path(value: str) -> Path:
        return named_destination(value, option)

    return path


def file(option: str) -> Callable[[str], Path]:
    """Make a parser (for typer) of a file to be written. It raises PrunebenchError if `option` names no such file."""

    def path(value: str) -> Path:
        return named_file(value, option)

    return path


def fraction(least: float) -> Callable[[str], float]:
    """Return a parser (for typer) of a sparsity from `least` on. It raises PrunebenchError for any other text."""

    def sparsity(value: str) -> float:
        try:
            number = float(sparsity_text(value))
        except ValueError as error:
            raise PrunebenchError(f"--sparsity: {error}") from None
        if number < least:
            raise PrunebenchError(f"--sparsity: {value} leaves all weights as they are: take at least {least}")
        return number

    return sparsity


def dtype_name(value: str) -> str:
    """Parse a dtype: a name of torch, or a usual short form. Raises PrunebenchError for any other text."""
    if (dtype := dtype_named(value)) is None:
        raise PrunebenchError(f"--dtype: unknown dtype {value!r}{did_you_mean(value, DTYPES)}")
    return dtype


def path_or_name(argument: str) -> Callable[[str], str]:
    """Make a parser (for typer) of an argument that names a directory or something that is known by name.

    It raises PrunebenchError for text that can be neither.
    """

    def path(value: str) -> str:
        named_path(value, argument)
        return value

    return path


TEXT, COMPUTE, OUTPUT = "Text", "Computation", "Output"
"""The groups of options that several commands have."""


def option(text: str, *names: str, panel: str | None = None, metavar: str = "", **settings: Any) -> Any:
    """Make an option (for typer) that takes one line of --help, in the group `panel`. `text` says its default."""
    return typer.Option(*names, help=text, rich_help_panel=panel, metavar=metavar, show_default=False, **settings)


def count(least: int, text: str, *names: str, most: int = LARGEST_COUNT, **settings: Any) -> Any:
    """Make an option (for typer) that takes a whole number from `least` to `most`; `text` is its help."""

    def checked(value: int | None) -> int | None:
        if value is not None and not least <= value <= most:
            bound = f"less than {least}" if value < least else f"more than {most}"
            raise typer.BadParameter(f"{value} is {bound}", param_hint=f"'{names[0]}'")
        return value

    return option(text, *names, metavar="N", callback=checked, **settings)


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        parser=path_or_name("MODEL"),
        help="A from_pretrained directory, a name from `models`, or OWNER/NAME[@REVISION] on the hub.",
    ),
]
DType = Annotated[
    str,
    option(
        "float32, float16, or by default bfloat16.", "--dtype", panel=COMPUTE, metavar="DTYPE",
        parser=dtype_name,
    ),
]  # fmt: skip
BatchSize = Annotated[int, count(1, "Windows per forward pass; default 8.", "--batch-size", panel=COMPUTE)]
Threads = Annotated[int | None, count(1, "CPU threads; default OMP_NUM_THREADS, or all.", "--threads", panel=COMPUTE)]
Device = Annotated[
    str,
    option(
        "auto, cpu, or a name of torch, such as cuda:1.", "--device", "-d", panel=COMPUTE, metavar="NAME",
        envvar=CHOICE, show_envvar=False,
    ),
]  # fmt: skip
AsJson = Annotated[bool, option("Print JSON for other programs.", "--json", panel=OUTPUT)]
Tokens = Annotated[
    Path | None,
    option("Token ids, .npy, int64 [n, seqlen].", "--tokens", panel=TEXT, metavar="FILE", parser=path("--tokens")),
]
Text = Annotated[
    Path | None,
    option("A file or directory of text.", "--text", panel=TEXT, metavar="PATH", parser=path("--text")),
]
Column = Annotated[
    str | None, option("Key or column of the text; default text.", "--column", panel=TEXT, metavar="NAME")
]
Bos = Annotated[
    bool | None,
    option("BOS first; default: as the tokenizer does.", "--bos/--no-bos", panel=TEXT),
]
Seqlen = Annotated[int | None, count(2, "Tokens per window; default 512.", "--seqlen", panel=TEXT)]

Configfile = Annotated[
    Path,
    option(f"As for snakemake; default {CONFIG}.", "--configfile", metavar="FILE", parser=path("--configfile")),
]
Study = Annotated[str | None, typer.Argument(help="A study of the config.", show_default="all of them")]
Packed = Annotated[bool, option("Leave zeros out, for prunebench.load.", "--packed", panel=OUTPUT)]
Bits = Annotated[int | None, option("8 keeps packed values in 8 bits.", "--bits", panel=OUTPUT, metavar="8")]
Group = Annotated[int | None, option("With --bits 8: columns with one scale.", "--group", panel=OUTPUT, metavar="N")]
