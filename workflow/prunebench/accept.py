"""Records that a change of code keeps the numbers, so that finished results stay valid instead of being computed again.

The golden tests stand guard: nothing is recorded unless they pass, with the expectations that the base revision had.
"""

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prunebench.errors import PrunebenchError
from prunebench.files import write_json
from prunebench.fingerprint import ACCEPTED, PACKAGE, Sources, digest, fingerprint, resolve

ENTRY_PACKAGES = tuple(
    f"{PACKAGE}.{kind}" for kind in ("stages", "methods", "allocators", "suites", "models", "search")
)
GOLDEN = "tests/golden"


class Accepted(NamedTuple):
    """One entry module whose `new` digest counts as `old` from now on."""

    module: str
    new: str
    old: str


def accept(base: str, root: Path, check: Callable[[], None] | None = None) -> list[Accepted]:
    """Record in accepted.json that the working tree gives the same numbers as git revision `base`.

    Entry modules that `base` does not have are left alone. `check` raises PrunebenchError if the numbers changed;
    by default it runs the golden tests of the repository at `root`.
    Raises PrunebenchError, and records nothing, if `base` cannot be read, golden files changed since, or `check` fails.
    """
    revision = _revision(base, root)
    working = Sources.from_directory(root / "workflow")
    found = changes(_sources_at(revision, root), working)
    if found:
        _refuse_changed_expectations(revision, root)
        (check or partial(_run_golden_tests, root))()
        _record(found, working, root / "workflow" / ACCEPTED)
    return found


def entries(sources: Sources) -> list[str]:
    """Sorted entry modules: stages and plug-ins, whose fingerprints specs hold; of `shown` only cheap jobs hold it."""
    return sorted(
        module
        for module in sources.texts
        if module.startswith(tuple(f"{package}." for package in ENTRY_PACKAGES))
        and module not in sources.packages
        and not module.endswith(".base")
    )


def changes(before: Sources, after: Sources) -> list[Accepted]:
    """Entry modules of both that differ, unless what `after` has accepted already makes them equal.

    Raises PrunebenchError if either cannot be parsed, or imports a first-party module that it does not have.
    """
    found = []
    for module in entries(after):
        if module in before.texts:
            try:
                new, old = digest(module, after), fingerprint(module, before)
            except (KeyError, SyntaxError) as error:
                raise PrunebenchError(f"cannot compare {module} with the base revision: {error.args[0]}") from error
            older = after.accepted.get(module, {})
            if resolve(new, older) != resolve(old, older):
                found.append(Accepted(module, new, old))
    return found


def _record(found: list[Accepted], sources: Sources, path: Path) -> None:
    accepted = {module: dict(older) for module, older in sources.accepted.items()}
    for module, new, old in found:
        accepted.setdefault(module, {})[new] = old
    write_json(path, accepted)


def _revision(base: str, root: Path) -> str:
    """The commit that `base` names."""
    _git(root, "rev-parse", "--git-dir", problem=f"{root} is not in a git repository, which accept compares with")
    name = _git(
        root,
        *("rev-parse", "--verify", "--end-of-options", f"{base}^{{commit}}"),
        problem=f"unknown git revision {base!r}: name a commit, branch or tag whose results are valid with --base",
    )
    return name.decode().strip()


def _sources_at(revision: str, root: Path) -> Sources:
    """The package as it was at `revision`."""
    archive = _git(
        root, "archive", "--format=tar", revision, "workflow", problem=f"no directory 'workflow' at revision {revision}"
    )
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        contents = {member.name.removeprefix("workflow/"): tar.extractfile(member) for member in tar}
    return Sources.from_files(
        {
            name: handle.read().decode()
            for name, handle in contents.items()
            if handle and (name == ACCEPTED or (name.startswith(f"{PACKAGE}/") and name.endswith(".py")))
        }
    )


def _refuse_changed_expectations(revision: str, root: Path) -> None:
    """Golden tests edited together with the code would prove nothing. New ones are welcome."""
    listing = _git(
        root,
        *("diff", "--name-only", "--no-renames", "--diff-filter=a", revision, "--", GOLDEN),
        problem=f"cannot compare {GOLDEN} with revision {revision}",
    )
    changed = listing.decode().split("\n")[:-1]
    if changed:
        raise PrunebenchError(
            f"nothing recorded: golden tests changed since the base revision ({', '.join(changed)}), so they cannot "
            "show that the numbers are the same. Restore them; or, if their change is right, commit it alone first."
        )


def _run_golden_tests(root: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", GOLDEN]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        tail = "\n".join((run.stdout + run.stderr).strip().splitlines()[-15:])
        raise PrunebenchError(
            "nothing recorded: the golden tests fail, so the numbers changed. Let the cells run again, or mend the "
            f"code until 'pytest {GOLDEN}' passes. Its last lines:\n{tail}"
        )


def _git(root: Path, *arguments: str, problem: str) -> bytes:
    """Output of git in `root`; PrunebenchError with `problem` and git's own words if it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise PrunebenchError(f"cannot run git in {root}: is git installed?") from error
    except subprocess.CalledProcessError as error:
        raise PrunebenchError(f"{problem}\ngit says: {error.stderr.decode(errors='replace').strip()}") from error
