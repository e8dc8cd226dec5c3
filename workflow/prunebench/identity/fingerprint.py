"""Digests of the code that computes, so that an edit of a formula re-runs exactly the cells that use it.

The fingerprint of a module covers its own source and the source of every first-party module that it imports, directly
or not. Comments, docstrings, formatting and imports for type checkers do not count, and the Python version does not
matter. Modules in folders that cannot change a number (NOT_NUMERIC) do not count. The `__init__` of a package counts
only if it is imported by name (`from prunebench.methods import NAME`), not as the parent of an imported module: a test
checks that these files compute nothing.

A digest that `prunebench accept` has recorded as equal in numbers to an older one counts as the older one.
"""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from prunebench import registry
from prunebench.errors import PrunebenchError

PACKAGE = "prunebench"
ACCEPTED = f"{PACKAGE}/accepted.json"

NOT_NUMERIC = frozenset(
    (
        "prunebench.config",  # reads configs; the values are in the spec
        "prunebench.engine.placement",  # devices and memory, which are provenance
        "prunebench.identity",  # compares results; its output is pinned by a test
        "prunebench.plan",  # lists jobs and writes their specs
        "prunebench.runtime",  # arguments, locks, progress, hosts, times
        "prunebench.storage",  # moves files and tensors without a change of bits
    )
)
"""Folders whose modules cannot change a number."""

NOT_NUMERIC_EITHER = frozenset(
    (
        "prunebench",  # the version
        "prunebench.assets.hub",  # brings files, which are checked against their digests
        "prunebench.assets.hub_errors",  # messages
        "prunebench.assets.manifest",  # names the files that arrived; their digests are in the spec
        "prunebench.assets.sources",  # brings files, which are checked against their digests
        "prunebench.cell",  # one point of the benchmark, which is in its spec
        "prunebench.errors",  # exceptions
        "prunebench.lazy",  # defers the import of torch
        "prunebench.names",  # refuses names
        "prunebench.plugin",  # base of plug-ins: names, titles, and parameters, whose values are in the spec
        "prunebench.registry",  # finds plug-ins; the plug-in found has its own fingerprint
        "prunebench.suites.workloads",  # how large evaluations are, for estimates
    )
)
"""Further modules that cannot change a number. A module in doubt is not listed: a needless re-run costs only time."""


def is_numeric(module: str) -> bool:
    """Whether an edit of `module` may change a number."""
    return module not in NOT_NUMERIC_EITHER and not any(
        module == folder or module.startswith(f"{folder}.") for folder in NOT_NUMERIC
    )


# `ctx` follows from the position, `kind` is the u of u"", and type comments are comments.
_SKIPPED_FIELDS = frozenset(("ctx", "kind", "type_comment"))


@dataclass(frozen=True, eq=False)
class Sources:
    """The source of the package in the working tree or at a git revision."""

    texts: Mapping[str, str]
    """The source of each module, by name."""
    packages: frozenset[str] = frozenset()
    """The names of the modules that are packages (`__init__.py`)."""
    accepted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """A map for each entry module from a digest to the older digest that gives the same numbers."""

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> "Sources":
        """Read file texts, by path relative to `workflow/`. Raises PrunebenchError for a damaged accepted.json."""
        texts, packages = {}, set()
        for path, text in files.items():
            if path.endswith(".py"):
                module = ".".join(PurePosixPath(path).with_suffix("").parts)
                if module.endswith(".__init__"):
                    module = module.removesuffix(".__init__")
                    packages.add(module)
                texts[module] = text
        return cls(texts, frozenset(packages), _parse_accepted(files.get(ACCEPTED, "{}")))

    @classmethod
    def from_directory(cls, workflow: Path, plugins: Mapping[str, Path] | None = None) -> "Sources":
        """Read the package in the directory `workflow`, and its accepted.json if it has one.

        `plugins` are the files of a project by their places in the package, where the package's own files come first.
        """
        paths = [*(workflow / PACKAGE).rglob("*.py"), *workflow.glob(ACCEPTED)]
        files = {path.relative_to(workflow).as_posix(): path.read_text("utf-8") for path in paths}
        added = {f"{PACKAGE}/{name}": path for name, path in (plugins or {}).items()}
        return cls.from_files({name: registry.read(path) for name, path in added.items() if name not in files} | files)

    def text(self, module: str) -> str:
        """The source of `module`. Raises KeyError if there is no such module."""
        if module not in self.texts:
            raise KeyError(f"no module {module!r} among the sources of {PACKAGE}")
        return self.texts[module]


@cache
def working_tree() -> Sources:
    """The package of this file and the plug-ins of the project in the working directory, read once per process."""
    return Sources.from_directory(Path(__file__).parents[2], registry.project_files())


@cache
def fingerprint(module: str, sources: Sources | None = None) -> str:
    """The digest of `module` (16 hex digits) after accepted aliases; `sources` default to the working tree.

    Raises KeyError if `module`, or a first-party module that it imports, does not exist.
    """
    sources = sources or working_tree()
    return resolve(digest(module, sources), sources.accepted.get(module, {}))


@cache
def digest(module: str, sources: Sources) -> str:
    """The digest of `module` and all numeric modules that it imports, without aliases. KeyError as in `fingerprint`."""
    lines = [f"{name} {_source_digest(sources.text(name))}\n" for name in sorted(closure(module, sources))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def resolve(digest: str, older: Mapping[str, str]) -> str:
    """Follow `digest` through the aliases `older` to the oldest digest; a cycle ends where it closes."""
    chain = [digest]
    while (step := older.get(chain[-1])) is not None and step not in chain:
        chain.append(step)
    return chain[-1]


def closure(module: str, sources: Sources) -> frozenset[str]:
    """`module` and the numeric modules that it imports, directly or through other numeric modules.

    Raises KeyError if one of them does not exist.
    """
    modules, waiting = {module}, [module]
    while waiting:
        new = {name for name in imports(waiting.pop(), sources) if is_numeric(name)} - modules
        modules |= new
        waiting.extend(new)
    return frozenset(modules)


@cache
def imports(module: str, sources: Sources) -> frozenset[str]:
    """The first-party modules that `module` itself imports, also inside functions, but not for type checkers only.

    `from prunebench.methods import wanda` means the submodule if there is such a file, else the package.
    Raises KeyError if `module` does not exist.
    """
    names = set()
    for node in ast.walk(_parse(sources.text(module))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, is_package=module in sources.packages)
            members = (f"{origin}.{alias.name}" for alias in node.names)
            names |= {member if member in sources.texts else origin for member in members}
    return frozenset(name for name in names if name.partition(".")[0] == PACKAGE)


def normalise(source: str) -> str:
    """The canonical text of `source`, the same on every Python version. Raises SyntaxError if it is not Python."""
    return _serialise(_parse(source))


@cache
def _source_digest(source: str) -> str:
    return hashlib.sha256(normalise(source).encode()).hexdigest()


def _parse_accepted(text: str) -> dict[str, dict[str, str]]:
    try:
        return {str(module): dict(older) for module, older in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise PrunebenchError(
            f"workflow/{ACCEPTED} is damaged ({error}): restore it with git, after a merge keep the lines of both sides"
        ) from error


def _origin(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """The absolute name of the module that a `from ... import` in `module` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parents = parts[: len(parts) - node.level + is_package]
    return ".".join([*parents, node.module] if node.module else parents)


@cache
def _parse(source: str) -> ast.Module:
    """The part of the syntax tree that computes. Callers share it and must not change it."""
    tree = _OnlyWhatComputes().visit(ast.parse(source))
    assert isinstance(tree, ast.Module)
    return tree


class _OnlyWhatComputes(ast.NodeTransformer):
    """A visitor that drops nodes without effect, and gives f-strings one form."""

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop docstrings and other bare constants, so that a body of only these equals `pass`."""
        self.generic_visit(node)
        return None if isinstance(node.value, ast.Constant) else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Drop code that only type checkers read."""
        self.generic_visit(node)
        name = node.test.attr if isinstance(node.test, ast.Attribute) else getattr(node.test, "id", None)
        return node.orelse if name == "TYPE_CHECKING" else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Merge neighbouring constant parts, which Python versions split differently."""
        self.generic_visit(node)
        parts: list[ast.expr] = []
        for value in node.values:
            for part in value.values if isinstance(value, ast.JoinedStr) else [value]:
                if isinstance(part, ast.Constant) and parts and isinstance(parts[-1], ast.Constant):
                    parts[-1] = ast.Constant(str(parts[-1].value) + str(part.value))
                elif not isinstance(part, ast.Constant) or part.value:
                    parts.append(part)
        if all(isinstance(part, ast.Constant) for part in parts):
            return parts[0] if parts else ast.Constant("")
        return ast.JoinedStr(parts)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        """Drop an empty format."""
        self.generic_visit(node)
        if isinstance(node.format_spec, ast.Constant) and not node.format_spec.value:
            node.format_spec = None
        return node


def _serialise(item: object) -> str:
    """The text of an AST node, a list of them, or a plain field (a name, a number, None).

    `ast.dump` and `ast.unparse` differ between Python versions. Empty fields are left out here, so that fields that a
    later version adds do not show.
    """
    if isinstance(item, (ast.Constant, ast.MatchSingleton)):
        return f"{type(item).__name__}({_constant(item.value)})"
    if isinstance(item, ast.AST):
        fields = {name: getattr(item, name, None) for name in sorted(item._fields) if name not in _SKIPPED_FIELDS}
        inside = ", ".join(f"{name}={_serialise(value)}" for name, value in fields.items() if value)
        return f"{type(item).__name__}({inside})"
    if isinstance(item, list):
        return f"[{', '.join(map(_serialise, item))}]"
    return _constant(item)


def _constant(value: object) -> str:
    """The text of a constant. Equal constants of different types (1, 1.0, True) have different texts."""
    if isinstance(value, str):
        return json.dumps(value)
    if type(value) is int:
        return hex(value)  # repr refuses integers above 4300 digits
    return repr(value)
