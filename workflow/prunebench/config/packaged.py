"""Finds the files that come with the package: workflow, catalogs, studies, profiles, default config.

In a checkout they lie at its root. A wheel has them in the folder `prunebench/project`, in the same places as there
(see setup.py). A project's own files, in the working directory, come before them.
"""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "project"
IN_CHECKOUT = not _INSTALLED.is_dir()
"""Whether the package lies in a copy of its repository."""
ROOT = _PACKAGE.parents[1] if IN_CHECKOUT else _INSTALLED
"""The directory that corresponds to the root of the repository: Snakefile, rules/, config/ and profiles/ lie in it."""


def packaged(name: str | Path) -> Path:
    """Return the path of the package's own file `name`, whether there is one or not."""
    return ROOT / name


def layers(name: str | Path) -> list[Path]:
    """List the files called `name`: that of the package first, then that of the project in the working directory.

    Files that do not exist are left out, and a file that is both stands once. An absolute `name` means one file.
    """
    # Not Path.exists: it raises for a name that is too long.
    paths = [path for path in (ROOT / name, Path(name)) if os.path.exists(path)]  # noqa: PTH110
    return list({path.resolve(): path for path in paths}.values())


def resource(name: str | Path) -> Path:
    """Return the file `name` of the project in the working directory; if it has none, that of the package.

    If there is neither, the path in the working directory is returned.
    """
    return next(reversed(layers(name)), Path(name))


def names(pattern: str) -> list[Path]:
    """List the sorted names of the package's and the project's files that match `pattern`, as in config/studies/*.yaml.

    `resource` finds the file of each name.
    """
    return sorted({path.relative_to(base) for base in (ROOT, Path()) for path in base.glob(pattern)})


def label(path: str | Path) -> str:
    """Name a file for specs and messages: relative to the package or to the working directory, whichever it lies in.

    The name does not depend on where the package and the project lie, so moving them re-runs nothing.
    """
    file = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
    inside = [base for base in (ROOT, Path.cwd()) if file.is_relative_to(base)]
    return os.path.relpath(file, max(inside, key=lambda base: len(base.parts), default=None))
