"""Prints the results of commands: as wide as a terminal, and elsewhere without a line break of ours."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

UNBOUNDED = 100_000
"""The number of columns where nobody has a terminal: in a pipe, a file or a log."""


def console() -> Console:
    """Make a console for stdout. Outside a terminal its lines have no end, unless COLUMNS in the environment says it.

    So a path or a message in a log stays whole, and other programs can read it.
    """
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=UNBOUNDED)


def show(*parts: RenderableType) -> None:
    """Print `parts` below each other. Only tables, and texts that are declared prose, are fitted to a terminal.

    A text is prose if its `no_wrap` is False. The terminal itself breaks any other text, so that a path in it can be
    copied. Titles and captions of tables are texts too: rich would break them at the width of the table.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    out = console()
    for part in parts:
        if isinstance(part, Group):
            show(*part.renderables)
        elif isinstance(part, Table):
            bare = copy.copy(part)
            bare.title = bare.caption = None
            for line in filter(None, (part.title, bare, part.caption)):
                out.print(line, style=None if line is bare else "italic", soft_wrap=line is not bare)
        else:
            out.print(part, soft_wrap=not (isinstance(part, Text) and part.no_wrap is False))
