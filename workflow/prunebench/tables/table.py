"""A table as it will be printed, and its formats: Markdown, CSV, HTML, LaTeX."""

from dataclasses import dataclass, field

import pandas as pd
from great_tables import GT
from tabulate import tabulate


@dataclass(frozen=True)
class Table:
    """Text cells under grouped columns. `stub` names the leading columns, `columns` are (group, name)."""

    title: str
    stub: tuple[str, ...]
    columns: list[tuple[str, str]]
    rows: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)

    def render(self, format: str) -> str:
        """The table as `md`, `csv`, `html` or `tex`."""
        return str({"md": self._markdown, "csv": self._csv, "html": self._html, "tex": self._latex}[format]())

    def _flat_columns(self) -> list[str]:
        return [*self.stub, *(f"{group} {name}".strip() for group, name in self.columns)]

    def _markdown(self) -> str:
        shown = [i for i in range(len(self.stub)) if len({row[i] for row in self.rows}) > 1] or [0]
        constant = [
            f"{self.stub[i]}: {self.rows[0][i]}." for i in range(len(self.stub)) if i not in shown and self.rows
        ]
        body = [[*(row[i] for i in shown), *row[len(self.stub) :]] for row in self.rows]
        headers = [*(self.stub[i] for i in shown), *self._flat_columns()[len(self.stub) :]]
        align = ["left"] * len(shown) + ["right"] * len(self.columns)
        text = tabulate(body, headers, tablefmt="github", colalign=align if body else None, disable_numparse=True)
        return (
            "\n".join(
                [f"**{self.title}.** {' '.join([*constant, self.notes[0]])}", "", text, "", *self.notes[1:]]
            ).rstrip()
            + "\n"
        )

    def _csv(self) -> str:
        return pd.DataFrame(self.rows, columns=self._flat_columns()).to_csv(index=False, lineterminator="\n")

    def _gt(self) -> GT:
        keys = [f"c{i}" for i in range(len(self.stub) + len(self.columns))]
        table = GT(pd.DataFrame(self.rows, columns=keys)).tab_header(title=self.title)
        names = [*self.stub, *(name for _, name in self.columns)]
        table = table.cols_label(dict(zip(keys, names, strict=True)))
        table = table.cols_align("right", keys[len(self.stub) :])
        for group in dict.fromkeys(group for group, _ in self.columns if group):
            inside = [key for key, (of, _) in zip(keys[len(self.stub) :], self.columns, strict=True) if of == group]
            table = table.tab_spanner(group, columns=inside)
        return table

    def _html(self) -> str:
        table = self._gt()
        for note in self.notes:
            table = table.tab_source_note(note)
        return str(table.as_raw_html())

    def _latex(self) -> str:
        notes = "\n".join(f"% {note}" for note in self.notes)
        return f"{notes}\n{self._gt().as_latex()}\n"
