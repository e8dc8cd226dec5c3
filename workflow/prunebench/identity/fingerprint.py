"""A digest of the code that computes, so that editing a formula re-runs exactly the cells that use it.

The fingerprint of a module covers its own source and that of every first-party module it imports, directly or not.
Source is compared by meaning: comments, docstrings, formatting and imports for type checkers do not count, and the
Python version does not matter. Modules that cannot change a number stay out: their folders say so (NOT_NUMERIC). The
`__init__` of a package counts only where it is imported by name (`from prunebench.methods import NAME`), not as the
parent of an imported module: package `__init__` files hold no numerics, and a test keeps it so.

A digest that `prunebench accept` has recorded as giving the same numbers as an older one counts as the older one.
"""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from prunebench.errors import PrunebenchError

PACKAGE = "prunebench"
ACCEPTED = "accepted.json"

NOT_NUMERIC = frozenset(
    (
        "prunebench.config",  # what may be said; the values are in the spec
        "prunebench.engine.placement",  # where things are computed and lie, which is provenance
        "prunebench.identity",  # compares results; its output is pinned by a test
        "prunebench.plan",  # which jobs there are, and what their specs say
        "prunebench.runtime",  # arguments, locks, progress, hosts, times
        "prunebench.storage",  # files and tensors, bit by bit
    )
)
"""Folders whose modules cannot change a number."""

NOT_NUMERIC_EITHER = frozenset(
    (
        "prunebench",  # the version
        "prunebench.assets.hub",  # brings files, which are checked against their digests
        "prunebench.assets.manifest",  # names the files that arrived; their digests are in the spec
        "prunebench.assets.sources",  # brings files, which are checked against their digests
        "prunebench.cell",  # one point of the benchmark, which is in its spec
        "prunebench.errors",  # exceptions
        "prunebench.lazy",  # defers the import of torch
        "prunebench.plugin",  # base of plug-ins: names, titles, and parameters, whose values are in the spec
        "prunebench.registry",  # finds plug-ins; the plug-in found has its own fingerprint
        "prunebench.suites.workloads",  # how large evaluations are, for estimates
    )
)
"""Single modules beside those folders. When in doubt a module is not listed: a needless re-run costs only time."""


def is_numeric(module: str) -> bool:
    """Whether an edit of `module` may change a number."""
    return module not in NOT_NUMERIC_EITHER and not any(
        module == folder or module.startswith(f"{folder}.") for folder in NOT_NUMERIC
    )


# `ctx` follows from the position, `kind` is the u of u"", type comments are comments.
_SKIPPED_FIELDS = frozenset(("ctx", "kind", "type_comment"))


@dataclass(frozen=True, eq=False)
class Sources:
    """The package's source at one point in time: the working tree, or a git revision."""

    texts: Mapping[str, str]
    """Source by module name."""
    packages: frozenset[str] = frozenset()
    """The modules that are packages: their source is an `__init__.py`."""
    accepted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By entry module: digest -> the older digest that gives the same numbers."""

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> "Sources":
        """Make sense of file texts by their path relative to `workflow/`; PrunebenchError for a bad accepted.json."""
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
    def from_directory(cls, workflow: Path) -> "Sources":
        """Read the package in the directory `workflow`, and its accepted.json if there is one."""
        paths = [*(workflow / PACKAGE).rglob("*.py"), *workflow.glob(ACCEPTED)]
        return cls.from_files({path.relative_to(workflow).as_posix(): path.read_text("utf-8") for path in paths})

    def text(self, module: str) -> str:
        """Source of `module`; KeyError if there is no such module."""
        if module not in self.texts:
            raise KeyError(f"no module {module!r} among the sources of {PACKAGE}")
        return self.texts[module]


@cache
def working_tree() -> Sources:
    """The package that this file belongs to, read once per process."""
    return Sources.from_directory(Path(__file__).parents[2])


@cache
def fingerprint(module: str, sources: Sources | None = None) -> str:
    """The digest of `module` (16 hex digits), through the accepted aliases; `sources` default to the working tree.

    Raises KeyError if `module`, or a first-party module that it imports, does not exist.
    """
    sources = sources or working_tree()
    return resolve(digest(module, sources), sources.accepted.get(module, {}))


@cache
def digest(module: str, sources: Sources) -> str:
    """The raw digest of `module` and everything numeric that it imports; KeyError as for `fingerprint`."""
    lines = [f"{name} {_source_digest(sources.text(name))}\n" for name in sorted(closure(module, sources))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def resolve(digest: str, older: Mapping[str, str]) -> str:
    """Follow `digest` to the oldest one that it stands for; a cycle ends where it closes."""
    chain = [digest]
    while (step := older.get(chain[-1])) is not None and step not in chain:
        chain.append(step)
    return chain[-1]


def closure(module: str, sources: Sources) -> frozenset[str]:
    """`module` and the modules that it imports, directly or not; none that is not numeric, nor what that imports.

    Raises KeyError if one of them does not exist.
    """
    found, waiting = {module}, [module]
    while waiting:
        new = {name for name in imports(waiting.pop(), sources) if is_numeric(name)} - found
        found |= new
        waiting.extend(new)
    return frozenset(found)


@cache
def imports(module: str, sources: Sources) -> frozenset[str]:
    """First-party modules that `module` itself imports, also inside functions, but not for type checkers only.

    `from prunebench.methods import masks` means the submodule where there is such a file, else the package.
    Raises KeyError if `module` does not exist.
    """
    found = set()
    for node in ast.walk(_parse(sources.text(module))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, is_package=module in sources.packages)
            members = (f"{origin}.{alias.name}" for alias in node.names)
            found |= {member if member in sources.texts else origin for member in members}
    return frozenset(name for name in found if name.partition(".")[0] == PACKAGE)


def normalise(source: str) -> str:
    """Canonical text of what `source` computes, the same on every Python version; SyntaxError if it is not Python."""
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
    """Absolute name of the module that `from ... import` in `module` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parents = parts[: len(parts) - node.level + is_package]
    return ".".join([*parents, node.module] if node.module else parents)


@cache
def _parse(source: str) -> ast.Module:
    """The part of the syntax tree that computes; shared between callers, so not to be changed."""
    tree = _OnlyWhatComputes().visit(ast.parse(source))
    assert isinstance(tree, ast.Module)
    return tree


class _OnlyWhatComputes(ast.NodeTransformer):
    """Drops what has no effect, and spells f-strings in one way."""

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop docstrings and other bare constants, so that a body of only these equals `pass`."""
        self.generic_visit(node)
        return None if isinstance(node.value, ast.Constant) else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Drop what only type checkers read."""
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
        """An empty format is no format."""
        self.generic_visit(node)
        if isinstance(node.format_spec, ast.Constant) and not node.format_spec.value:
            node.format_spec = None
        return node


def _serialise(item: object) -> str:
    """Text of an AST node, a list of them, or a plain field (a name, a number, None).

    Neither `ast.dump` nor `ast.unparse` is the same on all versions. Here empty fields are left out, so that the
    fields that a later version adds do not show.
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
    """Text of a constant. Equal constants of different types (1, 1.0, True) get different texts."""
    if isinstance(value, str):
        return json.dumps(value)
    if type(value) is int:
        return hex(value)  # repr refuses integers above 4300 digits
    return repr(value)
