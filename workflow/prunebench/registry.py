"""Finds plug-ins by their file: `methods/wanda.py` holds the class whose `name` is "wanda".

The scan reads the text of files only. A plug-in is imported when it is asked for, so that one broken or heavy plug-in
never stops the others. Modules beside them that hold no such class are no plug-ins.
"""

import difflib
import importlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError

KINDS = {
    "method": "methods",
    "allocator": "allocators",
    "suite": "suites",
    "table": "tables",
    "figure": "figures",
    "family": "models",
}
"""The folder of each kind of plug-in, by what one of the kind is called."""


@cache
def names(kind: str) -> tuple[str, ...]:
    """The sorted names of all plug-ins of `kind`, which is a folder: methods, allocators, suites, models, search."""
    folder = Path(__file__).parent / kind
    return tuple(
        sorted(
            path.stem
            for path in folder.glob("*.py")
            if re.search(rf'^    name = "{path.stem}"( *#.*)?$', path.read_text(encoding="utf-8"), re.MULTILINE)
        )
    )


@cache
def load(kind: str, name: str) -> Any:
    """The plug-in class called `name`. Raises PrunebenchError, with the nearest name, if there is none."""
    if name not in names(kind):
        raise PrunebenchError(f"unknown {kind.removesuffix('s')} {name!r}{did_you_mean(name, names(kind))}")
    module = importlib.import_module(f"prunebench.{kind}.{name}")
    # Not isinstance: it asks a lazily imported module for its class, which imports it.
    classes = (value for value in vars(module).values() if issubclass(type(value), type))
    return next(plugin for plugin in classes if getattr(plugin, "name", None) == name)


def build(kind: str, name: str, params: Mapping[str, Any]) -> Any:
    """The plug-in called `name` with the parameters `params`, as a spec has them."""
    plugin = load(kind, name)
    return plugin(plugin.configure(overrides=dict(params)))


@cache
def ready(kind: str) -> tuple[str, ...]:
    """The names of the plug-ins that have a default for every parameter."""
    return tuple(name for name in names(kind) if not required(kind, name))


def required(kind: str, name: str) -> list[str]:
    """The names of a plug-in's parameters that have no default."""
    return [key for key, field in load(kind, name).Params.model_fields.items() if field.is_required()]


def did_you_mean(word: str, choices: Iterable[str], *, list_all: bool = True) -> str:
    """The end of an error message: the nearest of `choices`; where none is near, all of them with `list_all`."""
    known = sorted(choices)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f": did you mean {near[0]!r}?"
    return f" (known: {', '.join(known)})" if known and list_all else ""
