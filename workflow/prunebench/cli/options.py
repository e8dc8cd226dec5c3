"""Options and arguments that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from prunebench.config.schema import CONFIG
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


def sparsity(least: float) -> Callable[[str], float]:
    """Return a parser (for typer) of a sparsity from `least` on. It raises PrunebenchError for any other text."""

    def fraction(value: str) -> float:
        try:
            number = float(sparsity_text(value))
        except ValueError as error:
            raise PrunebenchError(f"--sparsity: {error}") from None
        if number < least:
            raise PrunebenchError(f"--sparsity: {value} leaves all weights as they are: take at least {least}")
        return number

    return fraction


def dtype_name(value: str) -> str:
    """Parse a dtype: a name of torch, or a usual short form. Raises PrunebenchError for any other text."""
    name = value.lower().removeprefix("torch.")
    for dtype, short in DTYPES.items():
        if name in (dtype, *short):
            return dtype
    raise PrunebenchError(f"--dtype: unknown dtype {value!r}{did_you_mean(name, DTYPES)}")


def path_or_name(value: str) -> str:
    """Parse MODEL, a directory or a name of the catalog. Raises PrunebenchError for text that can be neither."""
    named_path(value, "MODEL")
    return value


DTYPES = {
    "float32": ("fp32", "f32", "float", "single"),
    "bfloat16": ("bf16",),
    "float16": ("fp16", "f16", "half"),
}
"""The dtypes of forward passes, each with its usual short forms."""

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
