"""Finds plug-ins by their file: `methods/wanda.py` holds the class whose `name` is "wanda".

A plug-in lies in the package, or in a project's folder of the same kind: `plugins/methods/mine.py` in the working
directory, where Snakemake, its jobs and the commands run. Either way its module is `prunebench.methods.mine`, so that
imports, fingerprints and the watch over the code of a job make no difference between the two.

The scan reads the text of files only. A plug-in is imported when it is asked for, so that one broken or heavy plug-in
never stops the others. Modules beside them that hold no such class are no plug-ins. Both places are read once per
process.
"""

import difflib
import importlib
import re
import traceback
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError, disk_errors_told, summary

KINDS = {
    "method": "methods",
    "allocator": "allocators",
    "suite": "suites",
    "table": "tables",
    "figure": "figures",
    "family": "models",
}
"""The folder of each kind of plug-in, by what one of the kind is called."""
PACKAGE = Path(__file__).parent
PROJECT = Path("plugins")
"""The directory, relative to the working directory, in which a project has folders of plug-ins of its own."""
NAME = re.compile(r"[a-z][a-z0-9_]*")
"""The form of a plug-in's name, which is a name of the catalogs and of a Python module."""
NEAR, SUGGESTED = 0.6, 3
"""The least likeness of a name that an error message suggests, from 0 to 1, and the greatest number of such names."""


@cache
def names(kind: str) -> tuple[str, ...]:
    """The sorted names of the package's and the project's plug-ins of `kind`: a folder of KINDS, or search."""
    return tuple(sorted({*_scan(PACKAGE / kind), *own(kind)}))


@cache
def own(kind: str) -> tuple[str, ...]:
    """The names of the plug-ins of `kind` that the project has."""
    return tuple(_scan(_project() / kind))


@cache
def _project() -> Path:
    """The project's directory of plug-ins. A process that changes its working directory stays with its first one."""
    return PROJECT.absolute()


def refuse_another_project() -> None:
    """Raise PrunebenchError if this process knows the plug-ins of another directory than the working directory.

    Modules of two projects would have one name, and a process can import one of them.
    """
    asked = PROJECT.absolute()
    if asked != _project() and (asked.is_dir() or _project().is_dir()):
        raise PrunebenchError(
            f"this process has read the plug-ins of {_project().parent}, and those of {asked.parent} are others: ask "
            "for these results in a Python process of their own"
        )


def project_files() -> dict[str, Path]:
    """The project's plug-ins, and the Python files beside them, by the path that each would have in the package."""
    return {
        path.relative_to(_project()).as_posix(): path
        for kind in KINDS.values()
        for path in sorted((_project() / kind).rglob("*.py"))
        if path.is_file()  # an editor may keep links to nothing beside the files
    }


def read(path: Path) -> str:
    """The text of a Python file, even if it is not UTF-8. Raises PrunebenchError if the disk does not give it."""
    with disk_errors_told():
        return path.read_text(encoding="utf-8", errors="backslashreplace")


def place(kind: str, name: str) -> Path:
    """The file of the plug-in called `name`: relative to the working directory if it lies there, else absolute."""
    return _shown((_project() if name in own(kind) else PACKAGE) / kind / f"{name}.py")


def _shown(file: Path) -> Path:
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


@cache
def add_project() -> None:
    """Let imports find the project's plug-ins under the names that they would have in the package."""
    for kind in KINDS.values():
        if (_project() / kind).is_dir():
            package = importlib.import_module(f"prunebench.{kind}")
            # The package's own folder comes first: no file of a project takes the place of one that others import.
            package.__path__.append(str(_project() / kind))


@cache
def load(kind: str, name: str) -> Any:
    """The plug-in class called `name`.

    Raises PrunebenchError if there is none, with the nearest name; if its file cannot be imported, with the line; and
    if a project's file has the name of a file of the package.
    """
    if name not in names(kind):
        raise PrunebenchError(f"unknown {kind.removesuffix('s')} {name!r}{hint(kind, name, names(kind))}")
    file = place(kind, name)
    if name in own(kind) and (PACKAGE / kind / file.name).exists():
        raise PrunebenchError(f"{file}: prunebench has a {kind}/{file.name} itself, so rename this file and its class")
    add_project()
    try:
        module = importlib.import_module(f"prunebench.{kind}.{name}")
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(file.absolute())]
        where = f"{file}, line {lines[-1]}" if lines else f"{file}"
        raise PrunebenchError(f"{where}: cannot be imported ({summary(error)}): mend it, or move it away") from error
    # Not isinstance: it asks a lazily imported module for its class, which imports it.
    classes = (value for value in vars(module).values() if issubclass(type(value), type))
    plugin = next((plugin for plugin in classes if getattr(plugin, "name", None) == name), None)
    if plugin is None:
        raise PrunebenchError(f"{file} {_lacks(name)}")
    if mistake := _mistake(kind, plugin):
        raise PrunebenchError(f"{file}: class {plugin.__name__} {mistake}")
    return plugin


def build(kind: str, name: str, params: Mapping[str, Any]) -> Any:
    """The plug-in called `name` with the parameters `params`, as a spec has them."""
    plugin = load(kind, name)
    return plugin(plugin.configure(overrides=dict(params)))


@cache
def ready(kind: str) -> tuple[str, ...]:
    """The names of the plug-ins that have a default for every parameter.

    A plug-in that cannot be loaded is left out. Its error comes up where it is asked for.
    """
    return tuple(name for name in names(kind) if _is_ready(kind, name))


def required(kind: str, name: str) -> list[str]:
    """The names of a plug-in's parameters that have no default."""
    return [key for key, field in load(kind, name).Params.model_fields.items() if field.is_required()]


def did_you_mean(word: str, choices: Iterable[str], *, list_all: bool = True) -> str:
    """The end of an error message: the nearest of `choices`; where none is near, all of them with `list_all`."""
    known = sorted(choices)
    if near := nearest(word, known):
        return f": did you mean {' or '.join(map(repr, near))}?"
    return f" (known: {', '.join(known)})" if known and list_all else ""


def nearest(word: str, choices: Iterable[str]) -> list[str]:
    """The sorted `choices` that are most like `word`, up to three that are equally near; [] if none is near.

    Small and capital letters count as equal, and "-", "_" and spaces count for nothing: a table may spell a name so.
    """
    folded = _folded(word)
    likeness = {name: difflib.SequenceMatcher(None, _folded(name), folded).ratio() for name in choices}
    best = max(likeness.values(), default=0.0)
    return sorted(name for name, like in likeness.items() if like == best >= NEAR)[:SUGGESTED]


def _folded(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()


def hint(kind: str, name: str, known: Iterable[str]) -> str:
    """The end of an error message on an unknown plug-in: what the project's file of that name lacks, or a near name."""
    folder = _project() / kind
    # The folder is listed, because a name may be too long to ask for its file.
    if name in names(kind) or name not in {path.stem for path in folder.glob("*.py") if path.is_file()}:
        return did_you_mean(name, known)
    return f": {_shown(folder / f'{name}.py')} {_lacks(name)}"


def _scan(folder: Path) -> list[str]:
    """The names of the plug-ins in `folder`."""
    return [path.stem for path in folder.glob("*.py") if path.is_file() and _holds_plugin(path)]


def _holds_plugin(path: Path) -> bool:
    says = rf"""^[ \t]+name(:[^=\n]*)?[ \t]*=[ \t]*(["']){path.stem}\2[ \t]*(#.*)?$"""
    return bool(NAME.fullmatch(path.stem) and re.search(says, read(path), re.MULTILINE))


def _lacks(name: str) -> str:
    if not NAME.fullmatch(name):
        return "needs another name: lower-case letters, digits and '_', a letter first"
    return f'has no class with the line: name = "{name}"'


def _mistake(kind: str, plugin: type) -> str | None:
    """The end of an error message on a class that is no plug-in; None if that cannot be told without a run."""
    # A space of a search is any class with the right functions.
    if kind in KINDS.values() and not any(base.__module__.startswith("prunebench.") for base in plugin.__mro__[1:]):
        return "derives from no class of prunebench: a file that 'prunebench new' writes shows from which it should"
    declared = (item for base in plugin.__mro__ for item in vars(base).get("__annotations__", {}).items())
    missing = sorted(name for name, type_ in declared if "ClassVar" in str(type_) and not hasattr(plugin, name))
    return f"does not define {' and '.join(missing)}" if missing else None


def _is_ready(kind: str, name: str) -> bool:
    try:
        return not required(kind, name)
    except PrunebenchError:
        return False
