"""Paths and messages stay whole: in a pipe nothing is broken, and on a terminal no text that may hold a path."""

import logging
import re

import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from prunebench.cli import app
from prunebench.cli.beginning import prepare
from prunebench.cli.printing import show
from prunebench.runtime.lines import aligned

PATH = "/a/directory/of a model" + "/and/one/below/it" * 8
PROSE = "many words that make a sentence " * 5


def parts() -> Group:
    table = Table("name", "path", title=f"models in {PATH}", caption=f"caption of {PATH}")
    table.add_row("first", PATH)
    return Group(Text(f"log: {PATH}"), table, Text(PROSE, no_wrap=False))


def test_in_a_pipe_no_line_is_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    show(parts())
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert f"log: {PATH}" in lines and f"models in {PATH}" in lines and f"caption of {PATH}" in lines
    assert f"│ first │ {PATH} │" in lines and PROSE.rstrip() in lines


def test_on_a_terminal_only_tables_and_prose_are_fitted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    show(parts())
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in plain.splitlines()]
    texts = [f"log: {PATH}", f"models in {PATH}", f"caption of {PATH}"]
    assert [line for line in lines if len(line) > 60] == texts


def test_messages_on_the_way_stay_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        prepare("float32", 1, 1, "cpu")
        logging.getLogger("prunebench").info("model %s", PATH)
    finally:
        root.handlers, root.level = before
    assert capsys.readouterr().err.splitlines() == [f"model {PATH}"]


def test_a_wrong_command_line_is_told_in_one_line() -> None:
    run = CliRunner().invoke(app, ["ppl", "x", PATH], env={"COLUMNS": "60"})
    first, *_ = run.stderr.splitlines()
    assert run.exit_code == 2 and first.startswith("error: ") and PATH in first
    assert run.stderr.splitlines()[-1].endswith(" ppl --help says more")


def test_columns_are_aligned_and_the_last_one_is_as_long_as_it_is() -> None:
    text = aligned([("a", Text("b"), PATH), ("long", "c", "short")], "title")
    assert text.plain.splitlines() == ["title", f"a     b  {PATH}", "long  c  short"]
