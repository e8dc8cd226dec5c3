"""`prunebench accept`: a refactoring that keeps the numbers keeps the fingerprints, and nothing else does."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prunebench import cli
from prunebench.errors import PrunebenchError
from prunebench.identity import accept as acceptance
from prunebench.identity import fingerprint as fingerprints
from prunebench.identity.accept import Accepted, accept, entries
from prunebench.identity.fingerprint import Sources, digest, fingerprint
from prunebench.storage.files import read_json

WANDA, MAGNITUDE = "prunebench.methods.wanda", "prunebench.methods.magnitude"
FILES = {
    "workflow/prunebench/__init__.py": "",
    "workflow/prunebench/methods/__init__.py": "",
    "workflow/prunebench/methods/base.py": "class Method: pass\n",
    "workflow/prunebench/methods/magnitude.py": "from prunebench.methods.base import Method\nx = 1\n",
    "workflow/prunebench/methods/wanda.py": "from prunebench.methods.base import Method\nx = 1 + 2\n",
    "workflow/prunebench/stages/__init__.py": "",
    "workflow/prunebench/stages/prune.py": "y = 1\n",
    "workflow/prunebench/tables/rows.py": "z = 1\n",
    "workflow/scripts/prune.py": "print('é')\n",
    "tests/golden/test_numbers.py": "def test_numbers():\n    assert 1 + 2 == 3\n",
}
WANDA_FILE = "workflow/prunebench/methods/wanda.py"
GOLDEN_FILE = "tests/golden/test_numbers.py"


@pytest.fixture(autouse=True)
def git_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that ignores the user's and the machine's settings."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose first commit holds FILES."""
    write(tmp_path, FILES)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    commit(tmp_path)
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")


def commit(root: Path) -> None:
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "change"], cwd=root, check=True)


def passing() -> None:
    """Golden tests that pass."""


def failing() -> None:
    raise PrunebenchError("the golden tests fail")


def tree(root: Path) -> Sources:
    return Sources.from_directory(root / "workflow")


def test_entries_are_stages_and_plug_ins(root: Path) -> None:
    assert entries(tree(root)) == [MAGNITUDE, WANDA, "prunebench.stages.prune"]


def test_a_refactoring_keeps_its_fingerprint_and_spares_the_others(root: Path) -> None:
    before = tree(root)
    write(root, {WANDA_FILE: "x = 3\n"})
    assert fingerprint(WANDA, tree(root)) != fingerprint(WANDA, before)

    recorded = accept("HEAD", root, passing)

    after = tree(root)
    assert recorded == [Accepted(WANDA, new=digest(WANDA, after), old=digest(WANDA, before))]
    assert read_json(root / "workflow/prunebench/accepted.json") == {WANDA: {recorded[0].new: recorded[0].old}}
    assert fingerprint(WANDA, after) == fingerprint(WANDA, before)
    assert accept("HEAD", root, failing) == [], "accepting again has nothing to do"


def test_a_shared_helper_is_recorded_for_all_that_import_it(root: Path) -> None:
    write(root, {"workflow/prunebench/methods/base.py": "class Method(object): pass\n"})
    assert [entry.module for entry in accept("HEAD", root, passing)] == [MAGNITUDE, WANDA]


def test_chains_over_several_commits_end_at_the_first(root: Path) -> None:
    first = fingerprint(WANDA, tree(root))
    for text in ("x = 3\n", "x = 4 - 1\n"):
        write(root, {WANDA_FILE: text})
        accept("HEAD", root, passing)
        commit(root)
    assert fingerprint(WANDA, tree(root)) == first
    assert accept("HEAD~2", root, failing) == []


def test_going_back_to_older_code_needs_no_alias(root: Path) -> None:
    write(root, {WANDA_FILE: "x = 3\n"})
    accept("HEAD", root, passing)
    commit(root)
    write(root, {WANDA_FILE: FILES[WANDA_FILE]})
    assert accept("HEAD", root, failing) == []


def test_a_comment_and_a_new_plug_in_need_no_acceptance(root: Path) -> None:
    write(root, {WANDA_FILE: FILES[WANDA_FILE] + "# why\n", "workflow/prunebench/methods/ria.py": "x = 9\n"})
    assert accept("HEAD", root, failing) == []
    assert not (root / "workflow/prunebench/accepted.json").exists()


def test_nothing_is_recorded_when_the_check_fails(root: Path) -> None:
    write(root, {WANDA_FILE: "x = 4\n"})
    with pytest.raises(PrunebenchError, match="golden tests fail"):
        accept("HEAD", root, failing)
    assert not (root / "workflow/prunebench/accepted.json").exists()


def test_the_default_check_runs_the_golden_tests(root: Path) -> None:
    write(root, {WANDA_FILE: "x = 3\n"})
    assert [entry.module for entry in accept("HEAD", root)] == [WANDA]

    write(root, {GOLDEN_FILE: "def test_numbers():\n    assert 1 + 2 == 4\n"})
    commit(root)
    write(root, {WANDA_FILE: "x = 4\n"})
    with pytest.raises(PrunebenchError, match=r"nothing recorded: the golden tests fail(.|\n)*1 failed"):
        accept("HEAD", root)


def test_golden_tests_may_be_added_but_not_edited_or_deleted_with_the_code(root: Path) -> None:
    write(root, {WANDA_FILE: "x = 3\n", "tests/golden/test_more.py": "def test_more(): pass\n"})
    assert accept("HEAD", root, passing)

    write(root, {WANDA_FILE: "x = 4\n", GOLDEN_FILE: "def test_numbers(): pass\n"})
    with pytest.raises(PrunebenchError, match=rf"nothing recorded: golden tests changed .*\({GOLDEN_FILE}\)"):
        accept("HEAD", root, passing)
    (root / GOLDEN_FILE).unlink()
    with pytest.raises(PrunebenchError, match="nothing recorded: golden tests changed"):
        accept("HEAD", root, passing)


def test_a_module_that_moved_takes_its_imports_in_golden_tests_along(root: Path) -> None:
    golden = "from prunebench.methods.wanda import x\nfrom prunebench.methods.base import Method\n\n\ndef test(): {}\n"
    moved = "from prunebench.formulas.base import Method\nfrom prunebench.formulas.wanda import x\n\n\ndef test(): {}\n"
    write(root, {GOLDEN_FILE: golden.format("assert x == 3")})
    commit(root)
    write(root, {WANDA_FILE: "x = 3\n", GOLDEN_FILE: moved.format("assert x == 3")})
    assert accept("HEAD", root, passing)
    for edited in (moved.format("assert x"), moved.replace("import x", "import y as x").format("assert x == 3")):
        write(root, {WANDA_FILE: "x = 4\n", GOLDEN_FILE: edited})
        with pytest.raises(PrunebenchError, match="golden tests changed"):
            accept("HEAD", root, passing)


def test_another_opinion_of_what_is_numeric_can_be_accepted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base revision says itself what its fingerprints were: those are on disk."""
    package = Path(fingerprints.__file__).parents[1]
    modules = ("__init__.py", "errors.py", "names.py", "registry.py", "identity/__init__.py", "identity/fingerprint.py")
    write(root, {f"workflow/prunebench/{name}": (package / name).read_text() for name in modules})
    commit(root)
    before = fingerprint(WANDA, tree(root))
    for module in list(vars(fingerprints).values()):
        if hasattr(module, "cache_clear"):
            module.cache_clear()
    monkeypatch.setattr(
        fingerprints, "NOT_NUMERIC_EITHER", fingerprints.NOT_NUMERIC_EITHER | {"prunebench.methods.base"}
    )
    assert digest(WANDA, tree(root)) != before
    recorded = accept("HEAD", root, passing)
    assert Accepted(WANDA, new=digest(WANDA, tree(root)), old=before) in recorded
    assert fingerprint(WANDA, tree(root)) == before


def test_the_project_may_be_a_directory_of_a_larger_repository(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(root, FILES)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    commit(tmp_path)
    write(root, {WANDA_FILE: "x = 3\n"})
    assert [entry.module for entry in accept("HEAD", root, passing)] == [WANDA]


def test_no_repository_no_revision_and_broken_code_are_errors_that_say_so(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(PrunebenchError, match="is not in a git repository"):
        accept("HEAD", tmp_path_factory.mktemp("elsewhere"), passing)
    for revision in ("v9", "--output=x", "HEAD:workflow"):
        with pytest.raises(PrunebenchError, match=f"unknown git revision '{revision}'.*--base"):
            accept(revision, root, passing)
    write(root, {WANDA_FILE: "import prunebench.nowhere\n"})
    with pytest.raises(PrunebenchError, match=rf"cannot compare {WANDA}.*no module 'prunebench\.nowhere'"):
        accept("HEAD", root, passing)
    write(root, {WANDA_FILE: "x = (\n"})
    with pytest.raises(PrunebenchError, match=f"cannot compare {WANDA}"):
        accept("HEAD", root, passing)


def test_a_revision_without_the_package_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": "empty"})
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    commit(tmp_path)
    with pytest.raises(PrunebenchError, match="no directory 'workflow' at revision"):
        accept("HEAD", tmp_path, passing)


def test_a_machine_without_git_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PrunebenchError, match="is git installed"):
        accept("HEAD", root, passing)


def run_cli(monkeypatch: pytest.MonkeyPatch, root: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `prunebench ARGUMENTS` in `root`, with golden tests that pass."""
    monkeypatch.setattr(cli.upkeep, "ROOT", root)
    monkeypatch.setattr(acceptance, "_run_golden_tests", lambda root: None)
    result = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_what_it_recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_cli(monkeypatch, root, "accept") == (0, "nothing to accept: the code computes what it did before\n", "")
    write(root, {WANDA_FILE: "x = 3\n"})
    code, out, _ = run_cli(monkeypatch, root, "accept", "--base", "HEAD")
    assert code == 0
    assert WANDA in out
    assert digest(WANDA, tree(root)) in out


def test_the_command_prints_errors_without_a_traceback(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run_cli(monkeypatch, root, "accept", "--base", "v9")
    assert (code, out) == (1, "")
    assert err.startswith("error: unknown git revision 'v9'")
    assert "Traceback" not in err


def test_the_command_says_what_it_is_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "accept" in run_cli(monkeypatch, root, "--help")[1]
    assert "refactoring" in run_cli(monkeypatch, root, "accept", "--help")[1]
    assert run_cli(monkeypatch, root, "--version")[1].startswith("prunebench ")
