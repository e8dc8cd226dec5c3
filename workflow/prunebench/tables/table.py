"""A table of printed texts, and its formats: Markdown, CSV, HTML and LaTeX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING

from prunebench.names import inert
from prunebench.tables.escape import csv_text, markdown

if TYPE_CHECKING:
    from great_tables import GT

PACKAGES = ("booktabs", "graphicx")
"""The packages that a LaTeX document needs to load for a table."""
TEX_ROWS = 30
"""The number of rows that fit on a page in print, together with TEX_NOTES notes."""
TEX_NOTES = 16
"""The number of notes that stand below a table in print; notes on hundreds of failed cells do not fit."""
_TEX_BEGIN = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{\begin{tabular}{"
_TEX_END = r"\end{tabular}}"

_TEX_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}"}
)


@dataclass(frozen=True)
class Table:
    """A table of texts under grouped columns. `stub` names the leading columns, `columns` are (group, name)."""

    title: str
    stub: tuple[str, ...]
    columns: list[tuple[str, str]]
    rows: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)
    bold: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of the entries that are bold, counted from 0 in `rows` and `columns`; CSV does not show it."""
    label: str = ""
    """The name of the table in a LaTeX document: a text refers to it by tab:label."""

    def __post_init__(self) -> None:
        # A reason may be of several lines, or have characters that a terminal obeys and LaTeX refuses.
        inert_texts = {
            "title": inert(self.title),
            "columns": [(inert(group), inert(name)) for group, name in self.columns],
            "rows": [tuple(map(inert, row)) for row in self.rows],
            "notes": list(map(inert, self.notes)),
        }
        for name, value in inert_texts.items():
            object.__setattr__(self, name, value)

    def render(self, format: str) -> str:
        """Write the table as `md`, `csv`, `html` or `tex`."""
        return str({"md": self._markdown, "csv": self._csv, "html": self._html, "tex": self._latex}[format]())

    def _flat_columns(self) -> list[str]:
        return [*self.stub, *(f"{group} {name}".strip() for group, name in self.columns)]

    def spans(self) -> list[tuple[str, int]]:
        """List each group of columns, and the number of columns in it."""
        return list(Counter(group for group, _ in self.columns).items())

    def shown(self) -> tuple[list[int], list[str]]:
        """List the stub columns that differ between rows, and a sentence for each other that is not empty."""
        values = [list(dict.fromkeys(row[i] for row in self.rows)) for i in range(len(self.stub))]
        shown = [i for i, texts in enumerate(values) if len(texts) > 1] or [0]
        constant = [f"{self.stub[i]}: {texts[0]}." for i, texts in enumerate(values) if i not in shown and any(texts)]
        return shown, constant

    def _markdown(self) -> str:
        from tabulate import tabulate

        shown, constant = self.shown()
        body = [
            [
                *(markdown(row[i]) for i in shown),
                *(
                    f"**{markdown(cell)}**" if (at, i) in self.bold else markdown(cell)
                    for i, cell in enumerate(row[len(self.stub) :])
                ),
            ]
            for at, row in enumerate(self.rows)
        ]
        headers = [markdown(self.stub[i]) for i in shown] + list(map(markdown, self._flat_columns()[len(self.stub) :]))
        align = ["left"] * len(shown) + ["right"] * len(self.columns)
        text = tabulate(body, headers, tablefmt="pipe", colalign=align if body else None, disable_numparse=True)
        head = f"**{markdown(self.title)}.** {markdown(' '.join([*constant, self.notes[0]]))}"
        return "\n".join([head, "", text, "", *map(markdown, self.notes[1:])]).rstrip() + "\n"

    def _csv(self) -> str:
        import pandas as pd

        rows = [[csv_text(entry) for entry in row] for row in self.rows]
        frame = pd.DataFrame(rows, columns=[csv_text(column) for column in self._flat_columns()])
        return frame.to_csv(index=False, lineterminator="\n")

    def _gt(self) -> GT:
        import pandas as pd
        from great_tables import GT

        shown, constant = self.shown()
        kept = [*shown, *range(len(self.stub), len(self.stub) + len(self.columns))]
        keys = [f"c{i}" for i in kept]
        frame = pd.DataFrame([[row[i] for i in kept] for row in self.rows], columns=keys)
        names = [*self.stub, *(name for _, name in self.columns)]
        table = GT(frame, id="table").tab_header(title=self.title, subtitle=" ".join(constant) or None)
        table = table.cols_label({key: names[i] for key, i in zip(keys, kept, strict=True)})
        numbers = keys[len(shown) :]
        for group in dict.fromkeys(group for group, _ in self.columns if group):
            inside = [key for key, column in zip(numbers, self.columns, strict=True) if column[0] == group]
            table = table.tab_spanner(group, columns=inside)
        return table.cols_align("left", keys[: len(shown)]).cols_align("right", numbers)

    def _emphasised(self, show: Callable[[str], str]) -> GT:
        """Replace the text of each bold entry by `show` of it."""
        table = self._gt()
        for row, column in sorted(self.bold):
            # A style would be enough for HTML, but the LaTeX writer ignores styles.
            table = table.fmt(show, columns=f"c{len(self.stub) + column}", rows=[row])
        return table

    def _html(self) -> str:
        table = self._emphasised(_html_bold)
        for note in self.notes:
            table = table.tab_source_note(note)
        return str(table.as_raw_html())

    def _latex(self) -> str:
        """Write floats for a document that loads PACKAGES; wide ones are shrunk to the width of the text.

        A table with more rows than fit on a page becomes several floats.
        """
        below, above = self.notes[:TEX_NOTES], self.notes[TEX_NOTES:]
        if above:
            below = [*below, f"{len(above)} more notes are comments of this table's file."]
        comments = [
            f"Needs \\usepackage{{{', '.join(PACKAGES)}}}",
            *(" ".join(note.split()).translate(_TEX_ESCAPES) for note in above),
        ]
        starts = range(0, max(1, len(self.rows)), TEX_ROWS)
        floats = [
            replace(
                self,
                title=self.title + (f" ({number} of {len(starts)})" if len(starts) > 1 else ""),
                label=self.label + (f"-{number}" if number > 1 else ""),
                rows=self.rows[start : start + TEX_ROWS],
                notes=below if number == len(starts) else [],
                bold=frozenset((row - start, at) for row, at in self.bold if start <= row < start + TEX_ROWS),
            )._float()
            for number, start in enumerate(starts, start=1)
        ]
        return "\n".join([*(f"% {comment}" for comment in comments), *floats, ""])

    def _float(self) -> str:
        table = self._emphasised(_tex_bold).tab_options(table_font_size="9pt")
        for note in self.notes:
            table = table.tab_source_note(" ".join(note.split()))
        text = _captioned(_fitted(table.as_latex()), self.label).replace("±", r"$\pm$")
        # After the end of a line LaTeX takes a bracket for a length, and a star for an order.
        text = re.sub(r"^([\[*])", r"{\1}", text, flags=re.MULTILINE)
        return text.replace(r"\begin{minipage}", "\n" + r"\vspace{4pt}\footnotesize\begin{minipage}").strip()


def _fitted(text: str) -> str:
    """Give the LaTeX of a float from Great Tables the table's own width, but at most the width of the text.

    Great Tables stretches every table over the whole width, and lets wide ones run off the page.
    """
    text, started = re.subn(
        r"\\begin\{tabular\*\}\{\\linewidth\}\{@\{\\extracolsep\{\\fill\}\}(.*)\}",
        lambda match: _TEX_BEGIN + match[1] + "}",
        text,
    )
    text, ended = re.subn(r"\\end\{tabular\*\}", lambda _: _TEX_END, text)
    assert (started, ended) == (1, 1), "Great Tables writes another LaTeX than it did"
    return text.replace(r"\begin{table}[!t]", "\\begin{table}[!t]\n\\centering")


def _captioned(text: str, label: str) -> str:
    """Give the LaTeX of a float from Great Tables, which has a title without a number, a numbered caption and a label.

    Of the characters that LaTeX knows, a name in a config has the underscore, which a label may have too.
    """
    pattern = r"\\caption\*\{\n\{\\large (.*)\}(?: \\\\\n\{\\small (.*)\})?\n\} *\n"
    named = f"\\label{{tab:{label}}}" if label else ""
    text, captions = re.subn(
        pattern, lambda match: f"\\caption{{{'. '.join(filter(None, match.groups()))}}}{named}\n", text, count=1
    )
    assert captions == 1, "Great Tables writes another title than it did"
    return text


def _html_bold(text: str) -> str:
    return f"<b>{escape(text)}</b>"


def _tex_bold(text: str) -> str:
    return rf"\textbf{{{text.translate(_TEX_ESCAPES)}}}"
