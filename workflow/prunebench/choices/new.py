"""Adds a new plug-in as a copy of a working template."""

import keyword
import re
from pathlib import Path

from prunebench import registry
from prunebench.config.packaged import IN_CHECKOUT
from prunebench.config.schema import read_config, with_catalogs
from prunebench.errors import PrunebenchError

PACKAGE = Path(registry.__file__).parent
TEMPLATES = Path(__file__).with_name("templates")


GRID = "    as a row under 'grid' in config/config.yaml"
USE = {
    "method": "{{method: {name}, sparsity: 0.5}}" + GRID,
    "allocator": "{{method: wanda, allocator: {name}, sparsity: 0.5}}" + GRID,
    "suite": "{name}: {{suite: {name}, params: ...}}    under 'suites' in config/config.yaml; a study lists it",
    "table": "tables: [{name}]    in a study of config/config.yaml",
    "figure": "    it is in the report of every study that measures what it draws",
    "family": "family: {name}    in the entry of a model",
}
"""The line of a config that uses a new plug-in of each kind."""
LISTED = ("method", "allocator", "suite")
"""The kinds that have a catalog of named instances and a command that lists them."""
TESTS = {"family": "architectures"}
"""The name of the contract test of each kind whose test file has another name than its folder."""


def create(kind: str, name: str, configfile: Path) -> Path:
    """Write the file of a new plug-in of `kind` (a key of registry.KINDS) and return its path.

    Raises PrunebenchError if `name` cannot be the name of a Python file, or if it is known already.
    """
    path = PACKAGE / registry.KINDS[kind] / f"{name}.py"
    _refuse_bad_name(kind, name, path, configfile)
    text = (TEMPLATES / f"{kind}.py").read_text(encoding="utf-8")
    title = "".join(part.capitalize() for part in name.split("_"))
    path.write_text(text.replace("Template", title).replace("template", name), encoding="utf-8")
    return path


def advice(kind: str, name: str) -> dict[str, str]:
    """Return commands and lines of config for the new plug-in `name`, each under its purpose."""
    folder = registry.KINDS[kind]
    listing = {"look at it": f"prunebench {folder} {name}"} if kind in LISTED else {}
    test = {"test it": f"pytest tests/contract/test_{TESTS.get(kind, folder)}.py -k {name}"} if IN_CHECKOUT else {}
    return {"use it": USE[kind].format(name=name), **test, **listing}


def _refuse_bad_name(kind: str, name: str, path: Path, configfile: Path) -> None:
    """Raise PrunebenchError if `name` cannot be the name of a Python file, or is known already."""
    folder = registry.KINDS[kind]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise PrunebenchError(
            f"{name!r} cannot be a file of {folder}: lower-case letters, digits and '_', a letter first, and no "
            "word of Python's own, as in 'my_method'"
        )
    if path.exists():
        raise PrunebenchError(f"{path} is there already: choose another name, or edit that file")
    config, files = with_catalogs(read_config(configfile), str(configfile))
    if kind in LISTED and name in getattr(config, folder):
        raise PrunebenchError(f"{name!r} is a known {kind}, from {files[folder, name]}: choose another name")
