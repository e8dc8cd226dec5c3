"""A job whose code is edited before it starts, or while it runs, ends with one line and leaves no result."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MODULE = "prunebench/methods/wanda.py"
WATCHED = """
import sys
from pathlib import Path
sys.path.insert(0, "workflow")
from prunebench.errors import PrunebenchError
from prunebench.identity import watch
from prunebench.identity.fingerprint import fingerprint

file = Path("workflow", sys.argv[1])
before = file.read_text()
edits = {
    "number": before.replace('title = "Wanda"', 'title = "Wanda"; edited = 1'),
    "comment": before + "# A comment.\\n",
    "half": before[: len(before) // 2] + "(((",
}
planned = {"methods.wanda": fingerprint("prunebench.methods.wanda")}

def edit(kind):
    if kind == "deleted":
        file.unlink()
    elif kind == "half a letter":
        file.write_bytes(before.encode() + "# \u00e9".encode()[:-1])
    else:
        assert edits[kind] != before
        file.write_text(edits[kind])

def revert():
    file.write_text(before)
"""


def outcome(root: Path, program: str) -> str:
    """Run `program` after the lines above in a copy of the package; returns what it prints."""
    (root / "workflow").mkdir()
    copied = subprocess.run(["cp", "-r", REPOSITORY / "workflow/prunebench", root / "workflow"], check=False)
    assert copied.returncode == 0
    run = subprocess.run(
        [sys.executable, "-c", WATCHED + program, MODULE], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


EDITS = pytest.mark.parametrize(
    ("kind", "refused"),
    [("number", True), ("half", True), ("half a letter", True), ("deleted", True), ("comment", False)],
)
TRIED = """
try:
    {}
    print("ran")
except PrunebenchError as error:
    print(error)
"""


def tried(lines: str) -> str:
    return TRIED.format(lines.strip().replace("\n", "\n    "))


@EDITS
@pytest.mark.parametrize(
    "when",
    [
        'edit("{}")\nwatch.Watch(planned)',
        'watching = watch.Watch(planned)\nedit("{}")\nwatching.check()',
    ],
    ids=("before it starts", "while it runs"),
)
def test_an_edit_that_changes_the_code_is_refused(tmp_path: Path, when: str, kind: str, refused: bool) -> None:
    said = outcome(tmp_path, tried(when.format(kind)))
    assert ("prunebench.methods.wanda was edited after this job was planned" in said) == refused, said
    assert "\n" not in said


def test_an_edit_during_the_import_that_is_undone_computes_nothing(tmp_path: Path) -> None:
    """The edited file is on disk from the first check until after the import: the planned code is what is imported."""
    program = """
first = watch.importlib.import_module

def slow(name, package=None):
    if name != "prunebench.methods.wanda":
        return first(name, package)
    edit("number")
    module = first(name)
    revert()
    return module

watch.importlib.import_module = slow
watch.Watch(planned)
from prunebench.methods import wanda
print(hasattr(wanda.Wanda, "edited"))
"""
    assert outcome(tmp_path, program) == "False"


def test_a_result_of_code_that_was_edited_meanwhile_is_deleted(tmp_path: Path) -> None:
    """The inputs of the job stay."""
    program = """
from prunebench.stages.run import watched

result, kept = Path("prune.json"), Path("asset.json")

def prune(**paths):
    result.write_text("{}")
    edit("number")

kept.write_text("{}")
try:
    watched(watch.Watch(planned), "prune", prune, {"result": result, "model": kept})
except PrunebenchError:
    print(result.exists(), kept.exists())
"""
    assert outcome(tmp_path, program) == "False True"
