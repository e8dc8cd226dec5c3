"""After an error, tables leave room on the screen for the error."""

from pathlib import Path

from prunebench.stages.outputs import shown


def test_tables_that_no_longer_fit_are_their_heads_and_files(tmp_path: Path) -> None:
    tables = []
    for name, rows in (("short", 3), ("long", 40), ("last", 4)):
        tables.append(tmp_path / f"{name}.md")
        tables[-1].write_text(f"**{name}.**\n" + "| row |\n" * rows)
    short, long, last = shown(tables, 10)
    assert short == tables[0].read_text() and last == tables[2].read_text()
    assert long == f"**long.** See {tables[1]}\n"
    assert [text.count("\n") for text in shown(tables, 5)] == [4, 1, 1]
