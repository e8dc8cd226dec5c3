"""docs/architecture.md is true: every room has its place, and no import goes up or in a circle."""

import re
from pathlib import Path

import pytest

from prunebench.identity.fingerprint import imports, is_numeric, working_tree

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "workflow/prunebench"
FOLDERS = [name.replace("/", ".") for name in re.findall(r"^\| `([a-z/]+)/` \|", PAGE, re.MULTILINE)]
"""The folders in the order of the page. A folder may import from the folders before it."""
MOST_LOOSE = 8
# The package itself offers its API by name, and imports it only when it is asked for.
MODULES = sorted(working_tree().texts.keys() - {"prunebench"})


def folder(module: str) -> str:
    """The folder of the page in which a module lies, with dots; empty for a loose one."""
    path = module.removeprefix("prunebench").removeprefix(".")
    path = path if module in working_tree().packages else path.rpartition(".")[0]
    while path and path not in FOLDERS:  # folders of folders that the page does not name belong to these
        path = path.rpartition(".")[0]
    return path


def test_the_page_lists_every_folder_and_every_loose_module() -> None:
    there = {
        path.parent.relative_to(PACKAGE).as_posix().replace("/", ".").strip(".")
        for path in PACKAGE.rglob("__init__.py")
    }
    assert set(FOLDERS) <= there and {name for name in there if "." not in name} - {""} <= set(FOLDERS)
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    (row,) = re.findall(r"^\| ((?:`\w+` )+)\| the loose modules", PAGE, re.MULTILINE)
    assert set(re.findall(r"\w+", row)) == loose
    assert len(loose) < MOST_LOOSE


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_to_folders_before_ones_own(module: str) -> None:
    """This rule also excludes circles between folders."""
    own = folder(module)
    before = {"", own, *(FOLDERS[: FOLDERS.index(own)] if own else ())}
    upwards = [name for name in imports(module, working_tree()) if name != "prunebench" and folder(name) not in before]
    assert upwards == []


def test_no_circles_between_files() -> None:
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in finished:
            for name in imports(module, working_tree()) - {"prunebench"}:
                visit(name, (*trail, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())


def test_what_the_page_says_cannot_change_a_number_cannot() -> None:
    (sentence,) = re.findall(r"Not in (.*?), nor in", PAGE, re.DOTALL)
    said = {name.replace("/", ".") for name in re.findall(r"`([a-z/]+)/`", sentence)}
    for name in FOLDERS:
        if not any(name.startswith(f"{parent}.") for parent in FOLDERS) or name in said:
            assert is_numeric(f"prunebench.{name}.anything") == (name not in said), name
    loose = [module for module in MODULES if module.count(".") == 1 and module not in working_tree().packages]
    assert [module for module in loose if is_numeric(module)] == ["prunebench.patterns"]


def test_the_way_of_a_cell_leads_through_files_that_are_there() -> None:
    way = PAGE.partition("## The way of one cell")[2]
    files = re.findall(r"`([\w/.]+\.(?:py|smk))`", way)
    assert len(files) > 15
    assert [name for name in files if not (ROOT / name).exists() and not (PACKAGE / name).exists()] == []
