"""Lines with aligned columns, for texts that hold paths: a table would break a path that is wider than a terminal."""

from collections.abc import Sequence

from rich.text import Text


def aligned(rows: Sequence[Sequence[str | Text]], title: str = "") -> Text:
    """Lay out `rows` as lines below a bold `title`, with the columns two spaces apart. The last one is not filled."""
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*(row[:-1] for row in cells), strict=True)]
    lines = [Text(title, "bold")] if title else []
    for *before, last in cells:
        line = Text()
        for cell, width in zip(before, widths, strict=True):
            line.append_text(cell).append(" " * (width - cell.cell_len + 2))
        lines.append(line.append_text(last))
    return Text("\n").join(lines)
