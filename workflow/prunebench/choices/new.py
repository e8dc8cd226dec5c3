"""Adds a new plug-in as a copy of a working template."""

import keyword
import shlex
from pathlib import Path

from prunebench import registry
from prunebench.config.packaged import IN_CHECKOUT, ROOT, layers
from prunebench.config.schema import CONFIG, read_config, with_catalogs
from prunebench.errors import PrunebenchError

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
CLONE = "CLONE"
"""The word for a clone of the repository in commands, where the package does not lie in one."""
TESTS = {"family": "architectures"}
"""The name of the contract test of each kind whose test file has another name than its folder."""


def create(kind: str, name: str, configfile: Path) -> Path:
    """Write the file of a new plug-in of `kind` (a key of registry.KINDS) and return its path.

    The file becomes a part of the project in the working directory, or of the package within its checkout. Raises
    PrunebenchError if `name` cannot be the name of a Python file, or if it is known already.
    """
    _refuse_bad_name(kind, name, configfile)
    path = (registry.PACKAGE if in_package() else registry.PROJECT) / registry.KINDS[kind] / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (TEMPLATES / f"{kind}.py").read_text(encoding="utf-8")
    title = "".join(part.capitalize() for part in name.split("_"))
    path.write_text(text.replace("Template", title).replace("template", name), encoding="utf-8")
    return path


def in_package() -> bool:
    """Whether a new plug-in becomes a part of the package: within its checkout, but in no project that lies there."""
    return IN_CHECKOUT and Path.cwd().is_relative_to(ROOT) and len(layers(CONFIG)) == 1


def advice(kind: str, name: str) -> dict[str, str]:
    """Return commands and lines of config for the new plug-in `name`, each under its purpose."""
    folder = registry.KINDS[kind]
    listing = {"look at it": f"prunebench {folder} {name}"} if kind in LISTED else {}
    clone = "" if in_package() else f"{shlex.quote(str(ROOT))}/" if IN_CHECKOUT else f"{CLONE}/"
    test = f"pytest {clone}tests/contract/test_{TESTS.get(kind, folder)}.py -k {name}"
    where = {} if IN_CHECKOUT else {CLONE: "is a clone of prunebench: an installed package has no tests"}
    return {"use it": USE[kind].format(name=name), "test it": test, **where, **listing}


def _refuse_bad_name(kind: str, name: str, configfile: Path) -> None:
    """Raise PrunebenchError if `name` cannot be the name of a Python file, or is known already."""
    folder = registry.KINDS[kind]
    if not registry.NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PrunebenchError(
            f"{name!r} cannot be a file of {folder}: lower-case letters, digits and '_', a letter first, and no "
            "word of Python's own, as in 'my_method'"
        )
    for place in (registry.PROJECT, registry.PACKAGE):
        if (path := place / folder / f"{name}.py").exists():
            # Nobody should edit an installed package.
            edit = ", or edit that file" if place == registry.PROJECT or in_package() else ""
            raise PrunebenchError(f"{path} is there already: choose another name{edit}")
    config, files = with_catalogs(read_config(configfile), str(configfile))
    if kind in LISTED and name in getattr(config, folder):
        raise PrunebenchError(f"{name!r} is a known {kind}, from {files[folder, name]}: choose another name")
