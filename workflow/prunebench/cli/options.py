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


def count(least: int, text: str, most: int = LARGEST_COUNT) -> Any:
    """Make an option (for typer) that takes a whole number from `least` to `most`; `text` is its help."""

    def checked(value: int | None) -> int | None:
        if value is not None and value > most:
            raise typer.BadParameter(f"{value} is more than {most}")
        return value

    return typer.Option(min=least, callback=checked, help=text)


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        parser=path_or_name("MODEL"),
        help="A from_pretrained directory, a name from `models`, or owner/name[@revision] on the hub.",
    ),
]
DType = Annotated[
    str,
    typer.Option(parser=dtype_name, metavar="DTYPE", help="float32, bfloat16 or float16, of forward passes alone."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows per forward pass.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads (default: all). They move numbers slightly.")]
Device = Annotated[
    str, typer.Option(envvar=CHOICE, help="auto (a GPU if there is one), cpu, or a name of torch: cuda, cuda:1, xpu.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Tokens = Annotated[Path | None, typer.Option(parser=path("--tokens"), help="Token ids, .npy, int64 [samples, seqlen].")]
Text = Annotated[Path | None, typer.Option(parser=path("--text"), help="A file or directory of text.")]
Column = Annotated[str | None, typer.Option(help="Key or column with the text. [default: text]")]
Bos = Annotated[
    bool | None,
    typer.Option("--bos/--no-bos", help="Begin windows with a BOS token; default: as the tokenizer does."),
]
Seqlen = Annotated[int | None, count(2, "Tokens per window. [default: 512]")]

Configfile = Annotated[
    Path,
    typer.Option(
        parser=path("--configfile"),
        help="The config file, as for snakemake.",
        show_default=str(CONFIG),
    ),
]
Study = Annotated[str | None, typer.Argument(help="A study of the config.", show_default="all of them")]
Packed = Annotated[
    bool, typer.Option("--packed", help="Leave zeros out: bitmasks and kept values, for prunebench.load.")
]
Bits = Annotated[
    int | None, typer.Option(help="With --packed: 8 keeps values in 8 bits. [default: those of the model]")
]
Group = Annotated[
    int | None, typer.Option(help="With --bits 8: columns that share a scale, a multiple of 32. [default: the row]")
]
