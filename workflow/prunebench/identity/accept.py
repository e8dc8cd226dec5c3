"""A record that a change of code keeps the numbers, so that finished results stay valid and are not computed again.

Nothing is recorded unless the golden tests pass with the expectations of the base revision.
"""

import ast
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prunebench.errors import PrunebenchError
from prunebench.identity.fingerprint import ACCEPTED, PACKAGE, Sources, digest, fingerprint, resolve
from prunebench.storage.files import write_json

ENTRY_PACKAGES = tuple(
    f"{PACKAGE}.{kind}" for kind in ("stages", "methods", "allocators", "suites", "models", "search")
)
GOLDEN = "tests/golden"


class Accepted(NamedTuple):
    """An entry module whose digest `new` counts as `old` from now on."""

    module: str
    new: str
    old: str


def accept(base: str, root: Path, check: Callable[[], None] | None = None) -> list[Accepted]:
    """Record in accepted.json that the working tree gives the same numbers as git revision `base`.

    Entry modules that `base` does not have are ignored. `check` raises PrunebenchError if the numbers changed; by
    default it runs the golden tests of the repository at `root`.
    Raises PrunebenchError, and records nothing, if `base` cannot be read, golden files changed since, or `check` fails.
    """
    revision = _revision(base, root)
    working = Sources.from_directory(root / "workflow")
    changed = changes(_fingerprints_at(revision, root), working)
    if changed:
        _refuse_changed_expectations(revision, root)
        (check or partial(_run_golden_tests, root))()
        _record(changed, working, root / "workflow" / ACCEPTED)
    return changed


def entries(sources: Sources) -> list[str]:
    """The sorted entry modules: the stages and plug-ins whose fingerprints are in specs."""
    return sorted(
        module
        for module in sources.texts
        if module.startswith(tuple(f"{package}." for package in ENTRY_PACKAGES))
        and module not in sources.packages
        and not module.endswith(".base")
    )


def changes(before: Mapping[str, str], after: Sources) -> list[Accepted]:
    """The entry modules whose fingerprint `before` (by name) differs from the one in `after`, accepted or not.

    Raises PrunebenchError if `after` cannot be parsed, or imports a first-party module that it does not have.
    """
    changed = []
    for module in entries(after):
        if module in before:
            try:
                new, old = digest(module, after), before[module]
            except (KeyError, SyntaxError) as error:
                raise PrunebenchError(f"cannot compare {module} with the base revision: {error.args[0]}") from error
            older = after.accepted.get(module, {})
            if resolve(new, older) != resolve(old, older):
                changed.append(Accepted(module, new, old))
    return changed


def _record(changed: list[Accepted], sources: Sources, path: Path) -> None:
    accepted = {module: dict(older) for module, older in sources.accepted.items()}
    for module, new, old in changed:
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


def _fingerprints_at(revision: str, root: Path) -> dict[str, str]:
    """The fingerprint of every entry module at `revision`, computed by the code of that revision.

    Specs on disk hold the fingerprints of the older code, and the rules of fingerprints may have changed since. A
    revision without a fingerprint module is read with the rules of the working tree.
    """
    archive = _git(
        root, "archive", "--format=zip", revision, "workflow", problem=f"no directory 'workflow' at revision {revision}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        # Not a tar: only Python 3.11.4 and later can keep its members in the directory.
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            for member in packed.namelist():
                packed.extract(member, scratch)
        workflow = Path(scratch) / "workflow"
        sources = Sources.from_directory(workflow)
        modules = entries(sources)
        own = [module for module in sources.texts if module.rpartition(".")[2] == "fingerprint"]
        if not own:
            return {module: fingerprint(module, sources) for module in modules}
        run = subprocess.run(
            [sys.executable, "-c", _OWN_FINGERPRINTS, workflow, own[0], *modules],
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode != 0:
        last = run.stderr.strip().splitlines()[-1:]
        raise PrunebenchError(f"revision {revision} cannot say what its code was: {' '.join(last)}")
    fingerprints: dict[str, str] = json.loads(run.stdout)
    return fingerprints


_OWN_FINGERPRINTS = """
import importlib, json, sys
workflow, name, *modules = sys.argv[1:]
sys.path.insert(0, workflow)
own = importlib.import_module(name)
print(json.dumps({module: own.fingerprint(module) for module in modules}))
"""


def _refuse_changed_expectations(revision: str, root: Path) -> None:
    """Raise PrunebenchError if golden tests changed since `revision`, as they would then prove nothing.

    New golden tests are allowed, and changes that only import the same names from other modules.
    """
    listing = _git(
        root,
        *("diff", "--name-only", "--no-renames", "--diff-filter=a", "--relative", revision, "--", GOLDEN),
        problem=f"cannot compare {GOLDEN} with revision {revision}",
    )
    changed = [name for name in listing.decode().split("\n")[:-1] if not _only_moved(name, revision, root)]
    if changed:
        raise PrunebenchError(
            f"nothing recorded: golden tests changed since the base revision ({', '.join(changed)}), so they cannot "
            "show that the numbers are the same. Restore them; or, if their change is right, commit it alone first."
        )


def _only_moved(name: str, revision: str, root: Path) -> bool:
    """Whether a golden file (path below `root`) differs from `revision` only in the modules of its imports."""
    if not name.endswith(".py") or not (root / name).exists():
        return False
    before = _git(root, "show", f"{revision}:./{name}", problem=f"cannot read {name} at revision {revision}").decode()
    return _without_origins(before) == _without_origins((root / name).read_text(encoding="utf-8"))


def _without_origins(source: str) -> str:
    """`source` without the modules in its `from` imports; the imported names stay, sorted."""
    tree = ast.parse(source)
    names = []
    for node in [node for node in tree.body if isinstance(node, ast.ImportFrom)]:
        names += [f"{alias.name} as {alias.asname or alias.name}" for alias in node.names]
        tree.body.remove(node)
    return "\n".join([*sorted(names), ast.unparse(tree)])


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
    """The output of git in `root`. Raises PrunebenchError with `problem` and git's own message if it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise PrunebenchError(f"cannot run git in {root}: is git installed?") from error
    except subprocess.CalledProcessError as error:
        raise PrunebenchError(f"{problem}\ngit says: {error.stderr.decode(errors='replace').strip()}") from error
