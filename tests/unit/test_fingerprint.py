"""Fingerprints change with what code computes, and with nothing else."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunebench.errors import PrunebenchError
from prunebench.identity.fingerprint import (
    ACCEPTED,
    NOT_NUMERIC,
    NOT_NUMERIC_EITHER,
    Sources,
    closure,
    digest,
    fingerprint,
    imports,
    is_numeric,
    normalise,
    resolve,
    working_tree,
)

WORKFLOW = Path(__file__).parents[2] / "workflow"
EVERY_CONSTRUCT = Path(__file__).parent / "data" / "every_construct.py.txt"
EVERY_CONSTRUCT_SHA256 = "90ca37a6c48de647885be1be0118c57bd9d964c020947f499531dca90b5fbd4e"

BASE = '''"""Scores."""

import math

from prunebench.lazy import torch


@torch.no_grad()
def score(weight, norm=1.0, *, eps=1e-05):
    """Equation 2."""
    if eps > 0:
        return [math.sqrt(abs(w) * norm + eps) for w in weight]
    return {"name": f"a {norm:.{2}f} b", "bytes": b"x", "big": 1}
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Scores.", "Other words."),
        ('"""Scores."""\n', ""),
        ("Equation 2.", "Equation 3,\n\n    on two lines."),
        ("import math\n", "import math  # for sqrt\n\n\n\n"),
        ('"name"', "'name'"),
        ('"name"', '("na" "me")'),
        ("{norm:.{2}f} b", '{norm:.{2}f}" " b'),
        ("1e-05", "0.00001"),
        ('"big": 1', '"big": 0x1,'),
        ("weight, norm=1.0, *, eps=1e-05", "\n    weight,\n    norm=1.0,\n    *,\n    eps=1e-05,\n"),
        ("abs(w) * norm + eps", "(abs(w) * norm) + \\\n eps"),
        ("return [", "return  [ "),
        ("    return {", '    "a remark"\n    pass\n    return {'),
        ("\n\n@", "\nif TYPE_CHECKING:\n    from prunebench.methods import masks\n\n@"),
        ("\n\n@", "\nif typing.TYPE_CHECKING:\n    import typing_extensions\n\n@"),
        ("\n", "\r\n"),
    ],
)
def test_edits_that_compute_the_same_keep_the_text(old: str, new: str) -> None:
    assert old in BASE
    assert normalise(BASE.replace(old, new)) == normalise(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("eps > 0", "eps > 1"),
        ("eps > 0", "eps >= 0"),
        ("eps > 0", "eps > 0.0"),
        ("eps > 0", "eps > False"),
        ("norm=1.0", "norm=1"),
        ("norm=1.0", "norm=True"),
        ("norm=1.0", "norm"),
        ("eps=1e-05", "eps=1e-06"),
        ("*, eps", "eps"),
        ("eps", "epsilon"),
        ("@torch.no_grad()", "@torch.inference_mode()"),
        ("@torch.no_grad()\n", ""),
        ("import math", "import cmath as math"),
        ("* norm + eps", "* (norm + eps)"),
        ("sqrt", "log"),
        ('"x"', '"y"'),
        ('b"x"', '"x"'),
        (".{2}f", ".{3}f"),
        ('f} b"', 'f} c"'),
        ("{norm:", "{norm!r:"),
        ("import torch", "import *"),
        ("def score", "async def score"),
    ],
)
def test_edits_that_compute_something_else_change_the_text(old: str, new: str) -> None:
    assert old in BASE
    assert normalise(BASE.replace(old, new)) != normalise(BASE)


def test_constants_that_compare_equal_are_told_apart() -> None:
    spellings = [
        "1",
        "1.0",
        "True",
        "(1+0j)",
        "'1'",
        "b'1'",
        "0",
        "0.0",
        "-0.0",
        "0j",
        "False",
        "None",
        "''",
        "...",
        "-1",
    ]
    spellings += ["1e400", "{**a, 1: 2}", "{a: a, 1: 2}", "f'{1}'", "f'{1.0}'", "f'{a!s}'", "f'{a}'", "f'a'", "'{a}'"]
    assert len({normalise(f"x = {text}") for text in spellings}) == len(spellings)
    patterns = ["None", "False", "True", "0", "1", "1.0", "_", "x", "[]", "{}", "[_]", "[*_]"]
    assert len({normalise(f"match y:\n case {text}: pass") for text in patterns}) == len(patterns)


def test_an_empty_body_has_one_spelling() -> None:
    bodies = ["pass", "...", '"""Docstring."""', '"""Docstring."""\n    pass']
    assert len({normalise(f"def f():\n    {body}\n") for body in bodies}) == 1
    assert normalise("def f(): pass") != normalise("def f(): return 1")


def test_only_the_type_checking_branch_is_dropped() -> None:
    source = "if TYPE_CHECKING:\n    import torch\nelse:\n    torch = load('torch')\n"
    assert normalise(source) == normalise("torch = load('torch')")
    assert normalise("if not TYPE_CHECKING:\n    x = 1") != normalise("")


def test_numbers_of_any_length() -> None:
    assert normalise(f"x = 0x{'f' * 5000}") != normalise(f"x = 0x{'f' * 4999}e")
    assert normalise("x = 1_000") == normalise("x = 1000")


def test_f_strings_have_one_spelling() -> None:
    texts = ['f"a{x}b"', '"a" f"{x}" "b"', 'f"a" "" f"{x}" f"" "b"', 'f"a{x:}b"', "f'''a{ x }b'''"]
    assert len({normalise(f"y = {text}") for text in texts}) == 1
    assert normalise('y = f"a"') == normalise('y = "a"') != normalise('y = f"{a}"')


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.data())
def test_comments_and_blank_lines_anywhere_keep_the_text(data: st.DataObject) -> None:
    words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20)
    noise = st.one_of(st.just(""), st.text(" \t", max_size=8), words.map("# {}".format))
    lines = []
    for line in BASE.splitlines():
        lines += data.draw(st.lists(noise, max_size=2))
        lines.append(line + data.draw(st.text(" \t", max_size=3)))
        if not line.endswith('"""'):
            lines[-1] += data.draw(st.one_of(st.just(""), words.map("  # {}".format)))
    assert normalise("\n".join(lines)) == normalise(BASE)


@given(st.integers(1, 12), st.sampled_from([" ", "\t"]))
def test_indentation_keeps_the_text(width: int, character: str) -> None:
    assert normalise(BASE.replace("    ", character * width)) == normalise(BASE)


@given(st.one_of(st.text(), st.binary(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_constants_survive_any_spelling(value: str | bytes | int | float) -> None:
    assert normalise(f"x = {value!r}") == normalise(f"x = ( {ast.unparse(ast.Constant(value))}\n)")


def test_every_construct_has_its_golden_digest() -> None:
    text = normalise(EVERY_CONSTRUCT.read_text("utf-8"))
    assert hashlib.sha256(text.encode()).hexdigest() == EVERY_CONSTRUCT_SHA256


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_other_python_versions_agree(version: str) -> None:
    python = shutil.which(f"python{version}")
    if not python or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"no working python{version} on PATH")
    program = (
        "import hashlib, pathlib, sys; from prunebench.identity.fingerprint import normalise; "
        "print(hashlib.sha256(normalise(pathlib.Path(sys.argv[1]).read_text('utf-8')).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONPATH": str(WORKFLOW), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([python, "-c", program, EVERY_CONSTRUCT], env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == EVERY_CONSTRUCT_SHA256, run.stderr


FILES = {
    "prunebench/__init__.py": '__version__ = "1"',
    "prunebench/errors.py": "class PrunebenchError(Exception): ...",
    "prunebench/runtime/script.py": "from prunebench.engine import loop",
    "prunebench/engine/__init__.py": "EPSILON = 1e-6",
    "prunebench/engine/loop.py": (
        "from ..runtime import script\nfrom . import EPSILON, norms\nLIMIT = norms.of(EPSILON)"
    ),
    "prunebench/engine/norms.py": "def of(x): return x + 1",
    "prunebench/methods/__init__.py": "",
    "prunebench/methods/base.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from prunebench.engine import loop\nclass Method: ..."
    ),
    "prunebench/methods/masks.py": "def lowest(x):\n    from prunebench.engine.norms import of\n    return of(x)",
    "prunebench/methods/wanda.py": (
        "import json\nimport prunebench.errors\nfrom prunebench import __version__\n"
        "from prunebench.methods import masks\nfrom prunebench.methods.base import Method\nclass Wanda(Method): ..."
    ),
    "prunebench/methods/magnitude.py": "from .base import Method\nclass Magnitude(Method): ...",
}


def edited(changes: dict[str, str]) -> Sources:
    """FILES with some of them replaced, by their path inside the package without suffix."""
    files = {f"prunebench/{name}.py": text for name, text in changes.items()}
    assert files.keys() <= FILES.keys()
    return Sources.from_files({**FILES, **files})


ORIGINAL = edited({})


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("engine.loop", {".runtime.script", ".engine", ".engine.norms"}),
        ("methods.wanda", {"", ".errors", ".methods.masks", ".methods.base"}),
        ("methods.masks", {".engine.norms"}),
        ("methods.base", set()),
        ("methods.magnitude", {".methods.base"}),
        ("runtime.script", {".engine.loop"}),
    ],
)
def test_imports_of_one_module(module: str, expected: set[str]) -> None:
    assert imports(f"prunebench.{module}", ORIGINAL) == {f"prunebench{name}" for name in expected}


def test_relative_imports_inside_a_package_start_at_the_package() -> None:
    files = {
        "prunebench/a/__init__.py": "from .b import x\nfrom .. import c",
        "prunebench/a/b.py": "",
        "prunebench/c.py": "",
    }
    assert imports("prunebench.a", Sources.from_files(files)) == {"prunebench.a.b", "prunebench.c"}


def test_closure_stops_at_modules_that_cannot_change_a_number() -> None:
    numeric = {"methods.wanda", "methods.masks", "methods.base", "engine.norms"}
    assert closure("prunebench.methods.wanda", ORIGINAL) == {f"prunebench.{name}" for name in numeric}
    numeric = {"engine", "engine.loop", "engine.norms"}
    assert closure("prunebench.engine.loop", ORIGINAL) == {f"prunebench.{name}" for name in numeric}


def test_an_entry_counts_even_if_it_is_not_numeric() -> None:
    assert "prunebench.runtime.script" in closure("prunebench.runtime.script", ORIGINAL)


@pytest.mark.parametrize("name", ["engine/norms", "methods/masks", "methods/base", "methods/wanda"])
def test_editing_what_a_module_imports_changes_its_fingerprint(name: str) -> None:
    after = edited({name: FILES[f"prunebench/{name}.py"] + "\nx = 1"})
    assert fingerprint("prunebench.methods.wanda", after) != fingerprint("prunebench.methods.wanda", ORIGINAL)


@pytest.mark.parametrize(
    "name", ["errors", "runtime/script", "__init__", "engine/loop", "engine/__init__", "methods/__init__"]
)
def test_editing_anything_else_keeps_it(name: str) -> None:
    after = edited({name: "x = 1"})
    assert fingerprint("prunebench.methods.wanda", after) == fingerprint("prunebench.methods.wanda", ORIGINAL)


def test_other_plug_ins_are_untouched() -> None:
    after = edited({"methods/wanda": "x = 1", "methods/masks": "x = 2"})
    assert fingerprint("prunebench.methods.magnitude", after) == fingerprint("prunebench.methods.magnitude", ORIGINAL)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(KeyError, match=r"no module 'prunebench\.methods\.owl'"):
        fingerprint("prunebench.methods.owl", ORIGINAL)
    with pytest.raises(KeyError, match=r"no module 'prunebench\.nowhere'"):
        fingerprint("prunebench.methods.masks", edited({"methods/masks": "import prunebench.nowhere"}))


def test_a_fingerprint_is_short_and_stable() -> None:
    assert fingerprint("prunebench.methods.magnitude", ORIGINAL) == "d9eddf2850cade67"


def test_aliases_lead_to_the_oldest_digest_of_their_own_module() -> None:
    module, raw = "prunebench.methods.wanda", digest("prunebench.methods.wanda", ORIGINAL)
    accepted = f'{{"{module}": {{"{raw}": "b", "b": "a"}}, "prunebench.methods.masks": {{"{raw}": "c"}}}}'
    sources = Sources.from_files({**FILES, ACCEPTED: accepted})
    assert fingerprint(module, sources) == "a"
    assert digest(module, sources) == raw
    assert fingerprint("prunebench.methods.base", sources) == fingerprint("prunebench.methods.base", ORIGINAL)


def test_a_cycle_of_aliases_ends() -> None:
    assert resolve("a", {"a": "b", "b": "c", "c": "a"}) == "c"
    assert resolve("a", {"a": "a"}) == "a"


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[]", '{"prunebench.methods.wanda": 1}'])
def test_damaged_aliases_are_an_error_that_says_what_to_do(text: str) -> None:
    with pytest.raises(PrunebenchError, match=r"workflow/prunebench/accepted\.json is damaged .* restore it"):
        Sources.from_files({ACCEPTED: text})


def test_sources_are_read_from_a_directory(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / ACCEPTED).write_text('{"m": {"new": "old"}}', "utf-8")
    sources = Sources.from_directory(tmp_path)
    assert sources.texts == ORIGINAL.texts
    assert sources.packages == {"prunebench", "prunebench.engine", "prunebench.methods"}
    assert sources.accepted == {"m": {"new": "old"}}


def test_the_working_tree_is_the_default_and_is_read_once() -> None:
    assert "prunebench.identity.fingerprint" in working_tree().texts
    assert working_tree() is working_tree()
    module = "prunebench.identity.fingerprint"
    assert fingerprint(module) == fingerprint(module, working_tree())


def test_package_inits_hold_no_numerics() -> None:
    for package in filter(is_numeric, working_tree().packages - {"prunebench.cli"}):
        for statement in ast.parse(working_tree().texts[package]).body:
            assert isinstance(statement, (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)), package


def test_modules_that_cannot_change_a_number_are_still_called_so() -> None:
    listed = NOT_NUMERIC | NOT_NUMERIC_EITHER
    assert sorted(listed - working_tree().texts.keys()) == [], "renamed or gone: mend NOT_NUMERIC"


def test_fingerprints_need_only_the_standard_library() -> None:
    program = (
        "import sys; before = set(sys.modules); import prunebench.identity.fingerprint\n"
        "print(*set(sys.modules) - before)"
    )
    environment = {**os.environ, "PYTHONPATH": str(WORKFLOW)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    top = {name.partition(".")[0] for name in run.stdout.split()}
    assert top <= set(sys.stdlib_module_names) | {"prunebench"}
