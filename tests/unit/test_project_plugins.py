"""Plug-ins that lie in a project, in plugins/methods/ and so on, beside those of the package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_light_imports import HEAVY

import tiny
from plans import another_comment, another_number
from prunebench.choices import new
from prunebench.config import packaged
from prunebench.registry import KINDS

REPOSITORY = Path(__file__).parents[2]
WANDA = (REPOSITORY / "workflow/prunebench/methods/wanda.py").read_text()
MINE = WANDA.replace('name = "wanda"', 'name = "mine"').replace("class Wanda", "class Mine")
"""A method of a project under another name than the package's."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the method `mine`, outside the checkout whose package it uses."""
    write(tmp_path, "methods/mine.py", MINE)
    return tmp_path


def write(project: Path, file: str, text: str | bytes) -> None:
    path = project / "plugins" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def python(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `project`; stdout and stderr are one text."""
    path = os.pathsep.join([str(REPOSITORY / "workflow"), str(REPOSITORY / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "300", "PYTHONDONTWRITEBYTECODE": "1"}
    run = [sys.executable, *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(run, cwd=project, env=environment, text=True, check=False, **streams)


def answer(project: Path, program: str) -> str:
    """Run `program` in `project`, and return its output."""
    run = python(project, "-c", program)
    assert run.returncode == 0, run.stdout
    return run.stdout.strip()


def prunebench(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    run = python(project, "-c", "from prunebench.cli import app; app()", *words)
    assert "Traceback" not in run.stdout
    return run


ADD = "from pathlib import Path; from prunebench.choices.new import create; from prunebench.registry import KINDS; "
ADD += "[create(kind, f'my_{kind}', Path('config/config.yaml')) for kind in KINDS]"
LOADED = """
import json, sys
from prunebench import registry
print(json.dumps({
    kind: [registry.load(folder, f"my_{kind}").__module__, str(registry.place(folder, f"my_{kind}"))]
    for kind, folder in registry.KINDS.items()
} | {"modules": sorted(sys.modules)}))
"""


def test_each_kind_of_plug_in_is_added_and_found(tmp_path: Path) -> None:
    answer(tmp_path, ADD)
    told = json.loads(answer(tmp_path, LOADED))
    assert not HEAVY & set(told.pop("modules"))
    assert told == {
        kind: [f"prunebench.{folder}.my_{kind}", f"plugins/{folder}/my_{kind}.py"] for kind, folder in KINDS.items()
    }
    assert not [path for path in (REPOSITORY / "workflow").rglob("my_*.py")]


def test_the_commands_list_it_and_name_its_file(project: Path) -> None:
    assert re.search("^mine ", prunebench(project, "methods").stdout, re.MULTILINE)
    shown = prunebench(project, "methods", "mine").stdout
    assert "from plugins/methods/mine.py" in shown and re.search("plug-in +plugins/methods/mine.py", shown)
    shown = prunebench(project, "methods", "wanda").stdout
    assert f"from {REPOSITORY}/workflow/prunebench/methods/wanda.py" in shown


def test_new_writes_into_the_project_and_overwrites_nothing(project: Path) -> None:
    run = prunebench(project, "new", "table", "mine")
    assert run.stdout.startswith("plugins/tables/mine.py: works as it is")
    assert f"test it    pytest {REPOSITORY}/tests/contract/test_tables.py -k mine" in run.stdout
    for name, message in {
        "mine": "plugins/methods/mine.py is there already: choose another name, or edit that file",
        "wanda": "prunebench/methods/wanda.py is there already: choose another name\n",
        "wanda_released": "'wanda_released' is a known method",
        "Mine": "cannot be a file of methods",
    }.items():
        run = prunebench(project, "new", "method", name)
        assert run.returncode == 1 and message in run.stdout


def test_a_project_within_the_clone_keeps_its_plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (packaged, new):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for folder in ("config", "docs", "study/config"):
        (tmp_path / folder).mkdir(parents=True)
    for config in ("config", "study/config"):
        (tmp_path / config / "config.yaml").touch()
    inside = {}
    for folder in ("", "docs", "study"):
        monkeypatch.chdir(tmp_path / folder)
        inside[folder] = new.in_package()
    assert inside == {"": True, "docs": True, "study": False}
    monkeypatch.chdir("/")
    assert not new.in_package()


BROKEN: dict[str, tuple[str, str | bytes, str]] = {
    "no Python": ("mine", MINE + "((((", "plugins/methods/mine.py: cannot be imported (SyntaxError: '(' was never"),
    "absent library": (
        "mine",
        "import no_such_library\n" + MINE.replace("from __future__ import annotations\n", ""),
        "plugins/methods/mine.py, line 1: cannot be imported (ModuleNotFoundError: No module named 'no_such_library')",
    ),
    "an end": ("mine", MINE + "\nraise SystemExit(3)\n", "plugins/methods/mine.py, line "),
    "no base": (
        "mine",
        'class Mine:\n    name = "mine"\n',
        "plugins/methods/mine.py: class Mine derives from no class of prunebench: a file that 'prunebench new' writes",
    ),
    "no title": (
        "mine",
        MINE.replace("    title = ", "    heading = "),
        "plugins/methods/mine.py: class Mine does not define title",
    ),
    "no class": ("mine", 'def f():\n    name = "mine"\n', "plugins/methods/mine.py has no class with the line: name ="),
    "name of the package": (
        "wanda",
        WANDA,
        "plugins/methods/wanda.py: prunebench has a methods/wanda.py itself, so rename this file and its class",
    ),
}


@pytest.mark.parametrize(("name", "text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_one_is_told_in_one_line_where_it_is_asked_for(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    write(tmp_path, f"methods/{name}.py", text)
    run = prunebench(tmp_path, "methods", name)
    assert run.returncode == 1
    assert run.stdout.startswith(f"error: {message}") and run.stdout.count("\n") == 1
    # Who does not ask for it has the others.
    names = set(answer(tmp_path, "from prunebench.registry import ready; print(*ready('methods'))").split())
    assert name not in names and {"ria", "sparsegpt"} <= names


def test_the_list_shows_what_is_wrong_beside_the_others(project: Path) -> None:
    write(project, "methods/theirs.py", MINE.replace('"mine"', '"theirs"') + "((((")
    rows = {line.split()[0]: line for line in prunebench(project, "methods").stdout.splitlines()[1:] if line.split()}
    assert "plugins/methods/theirs.py: cannot be imported (SyntaxError" in rows["theirs"]
    assert "Wanda" in rows["mine"] and "Wanda" in rows["wanda"]


def test_files_that_are_no_plug_ins_do_no_harm(project: Path) -> None:
    (project / "plugins/methods/.#mine.py").symlink_to("nowhere")  # an editor's lock
    write(project, "methods/latin.py", b"# \xe9\n")
    write(project, "methods/__init__.py", "1 / 0")
    program = "from prunebench.identity.fingerprint import fingerprint; from prunebench.registry import load; "
    program += "load('methods', 'mine'); print(fingerprint('prunebench.methods.mine'))"
    assert len(answer(project, program)) == 16
    write(project, "methods/other.py", MINE)
    run = prunebench(project, "prune", "opt_125m", "--method", "other", "--sparsity", "0.5", "--out", "out")
    assert "unknown method 'other': plugins/methods/other.py has no class with the line: name = \"other\"" in run.stdout


def test_an_entry_of_its_name_for_another_method_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "methods/wanda_released.py", MINE.replace('"mine"', '"wanda_released"'))
    run = prunebench(tmp_path, "methods")
    assert run.returncode == 1 and run.stdout.startswith("error: plugins/methods/wanda_released.py: ")
    assert "catalog/methods.yaml has an entry of this name for another method" in run.stdout


SPECS = """
import json
from plans import specs
from prunebench.plan.plan import load_plan
from studies import grid
plan = load_plan(grid({"method": ["dense", "wanda", "mine"], "sparsity": 0.5}, tables=["gain"]))
shown = ("tables", "report", "figures")
print(json.dumps({job: spec for job, spec in specs(plan).items() if job.split()[0] not in shown}))
"""


def test_an_edit_changes_the_specs_of_its_cells_alone(project: Path) -> None:
    helped = "from prunebench.methods.helper import SCALE\n"
    write(project, "methods/mine.py", MINE.replace("import annotations\n", f"import annotations\n{helped}"))
    write(project, "methods/helper.py", "SCALE = 1\n")

    def specs() -> dict[str, str]:
        return json.loads(answer(project, SPECS))

    before = specs()
    cell = "tiny mine uniform unstructured-s0.50 text_4x16 0"
    for file, edit, expected in (
        ("methods/mine.py", another_comment, set()),
        ("methods/mine.py", another_number, {f"prune {cell}", f"evaluate {cell} ppl_tiny"}),
        ("methods/helper.py", another_number, {f"prune {cell}", f"evaluate {cell} ppl_tiny"}),
    ):
        text = (project / "plugins" / file).read_text()
        write(project, file, edit(text))
        after = specs()
        assert {job for job in after if before.get(job) != after[job]} == expected, file
        write(project, file, text)
    assert specs() == before


WATCHED = """
from pathlib import Path
from prunebench.errors import PrunebenchError
from prunebench.identity.fingerprint import fingerprint
from prunebench.identity.watch import Watch
watch = Watch({"methods.mine": fingerprint("prunebench.methods.mine")})
watch.check()
file = Path("plugins/methods/mine.py")
file.write_text(file.read_text() + "EDITED = 1\\n")
try:
    watch.check()
except PrunebenchError as error:
    print(error)
"""


def test_a_job_notices_an_edit(project: Path) -> None:
    assert answer(project, WATCHED).startswith("the code of prunebench.methods.mine was edited after this job")


def test_one_model_is_pruned_by_it(project: Path) -> None:
    model = tiny.make_model(project / "model", blocks=1)
    (project / "text.txt").write_text("\n".join(tiny.make_text(60)))
    text = ["--calibration", "text.txt", "--samples", "4", "--seqlen", "16"]
    run = prunebench(project, "prune", str(model), "--method", "mine", "--sparsity", "0.5", *text, "--out", "out")
    assert run.returncode == 0, run.stdout
    assert json.loads((project / "out/prunebench.json").read_text())["prune"]["spec"]["method"] == "mine"


def test_a_process_has_the_plug_ins_of_one_project(project: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir(exist_ok=True)
    (third := tmp_path / "third").mkdir()
    program = (
        "import os; from prunebench import registry; from prunebench.errors import PrunebenchError\n"
        "registry.names('methods'); registry.refuse_another_project(); os.chdir({place!r})\n"
        "try:\n    registry.refuse_another_project()\nexcept PrunebenchError as error:\n    print(error)"
    )
    told = answer(project, program.format(place=str(other)))
    assert told.startswith(f"this process has read the plug-ins of {project}, and those of {other} are others")
    assert answer(other, program.format(place=str(third))) == "", "without plug-ins there is nothing to mix up"
