"""Every command explains itself, ends with a sensible exit code, and starts fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from test_light_imports import HEAVY, REPOSITORY
from typer.main import get_command
from typer.testing import CliRunner

from prunebench.cli import app

ROOT = get_command(app)
COMMANDS = [
    *((name,) for name in ROOT.commands if name != "new"),
    *(("new", name) for name in ROOT.commands["new"].commands),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    run = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert run.exit_code == 0
    assert len(run.output) > 300
    if command not in (("accept",), ("export",)):
        assert f"prunebench {' '.join(command)}" in run.output.partition("Example")[2]


LONGEST = 60
"""The largest number of lines of a page of help: a screen and a half."""


@pytest.mark.parametrize("command", [(), ("new",), *COMMANDS], ids=" ".join)
def test_help_fits_on_a_screen_and_a_half(command: tuple[str, ...]) -> None:
    run = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    lines = [line.rstrip() for line in run.output.rstrip().splitlines()]
    assert 10 < len(lines) <= LONGEST and max(map(len, lines)) <= 80
    assert not any(line.endswith("…") for line in lines), "nothing is cut"


def test_frequent_options_have_short_forms_of_one_meaning() -> None:
    short: dict[str, set[str]] = {}
    for command in COMMANDS:
        entry = ROOT.commands["new"].commands[command[1]] if len(command) > 1 else ROOT.commands[command[0]]
        for option in entry.params:
            for name in option.opts:
                if len(name) == 2 and name.startswith("-"):
                    short.setdefault(name, set()).add(option.name)
    assert {"-s", "-m", "-o", "-p", "-a", "-d"} <= short.keys()
    assert short.pop("-n") == {"samples", "evaluations"}
    assert all(len(names) == 1 for names in short.values()), short


def test_unknown_command_gets_the_nearest() -> None:
    run = CliRunner().invoke(app, ["statsu"])
    assert run.exit_code == 2
    assert "Did you mean 'status'?" in run.output


def test_ctrl_c_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    commands = typer.Typer(cls=type(ROOT))
    commands.command("wait")(interrupted)
    commands.callback()(lambda: None)
    run = CliRunner().invoke(commands, ["wait"])
    assert (run.exit_code, run.output) == (130, "interrupted\n")


def test_nothing_heavy_is_imported_for_help_status_and_plan() -> None:
    code = (
        "import json, sys; sys.path.insert(0, 'workflow')\nfrom prunebench.cli import app\n"
        "for words in (['--help'], ['status', '--json'], ['plan', '--json']):\n    app(words, standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loaded = set(json.loads(run.stdout.splitlines()[-1]))
    assert {"prunebench.view.states", "prunebench.estimate.estimate"} <= loaded
    assert loaded & (HEAVY | {"matplotlib", "jinja2", "plotly", "psutil"}) == set()
