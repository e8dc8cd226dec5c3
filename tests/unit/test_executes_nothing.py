"""Nothing executes what it reads: the source of the package and the rules have no call that could."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "workflow/prunebench").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
EXECUTES = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"}
READS = {"pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load"}
READS |= {
    "joblib.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.unsafe_load_all",
    "pandas.read_pickle",
    "pd.read_pickle",
}
LOADERS = {"yaml.load", "yaml.load_all"}
PRETRAINED = ("from_pretrained", "from_config")
QUOTED = {"params.spec", "spec", "cells"}
"""Values of configs in shell commands; all other words of commands are paths that this package has made, or numbers."""
PLAIN = re.compile(r"(input|output|wildcards|resources|paths)\.\w+|log|threads|output")


def dotted(node: ast.expr) -> str:
    """The name of what is called, as in yaml.load; for a call on any other value, the name of the method alone."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".removeprefix(".")
    return ""


def offences(source: str) -> Iterator[str]:
    """Yield each call in Python code that executes, or might execute, what it is given."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = dotted(call.func)
        options = {option.arg: getattr(option.value, "value", None) for option in call.keywords}
        last = name.rpartition(".")[2]
        if name in EXECUTES | READS | LOADERS:
            yield f"line {call.lineno}: {name}"
        if name == "torch.load" and options.get("weights_only") is not True:
            yield f"line {call.lineno}: torch.load without weights_only"
        if last == "load" and name.startswith(("np.", "numpy.")) and options.get("allow_pickle") is not False:
            yield f"line {call.lineno}: {name} without allow_pickle=False"
        if options.get("shell"):
            yield f"line {call.lineno}: a shell"
        # api.Pruned.load passes on what its caller says, who may trust a model of their own.
        spread = [ast.unparse(option.value) for option in call.keywords if option.arg is None]
        distrusts = options.get("trust_remote_code") is False or any(
            "'trust_remote_code': False" in it for it in spread
        )
        if last in PRETRAINED and not distrusts:
            yield f"line {call.lineno}: {name} without trust_remote_code=False"
        if options.get("trust_remote_code") or options.get("allow_pickle"):
            yield f"line {call.lineno}: trust in code of others"
        if last == "Environment" and options.get("autoescape") is not True:
            yield f"line {call.lineno}: jinja without autoescape"
        if last in ("extractall", "unpack_archive") and options.get("filter") != "data":
            yield f"line {call.lineno}: {last} without filter='data'"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT / "workflow/prunebench")))
def test_no_module_executes_what_it_reads(file: Path) -> None:
    # The texts of our own modules are compiled after their fingerprints were checked.
    allowed = ["compile"] if file.name == "watch.py" else []
    assert [offence.partition(": ")[2] for offence in offences(file.read_text(encoding="utf-8"))] == allowed


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "import os; os.system(name)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "pickle.loads(data)",
        "yaml.load(text, Loader)",
        "subprocess.run(command, shell=True)",
        "AutoModel.from_pretrained(directory)",
        "AutoModel.from_pretrained(directory, **options)",
        "AutoModel.from_pretrained(directory, trust_remote_code=True)",
        "jinja2.Environment(loader=loader)",
        "tar.extractall(directory)",
    ],
)
def test_the_walk_sees_what_it_is_for(code: str) -> None:
    assert list(offences(code))


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_rules_quote_what_comes_from_a_config(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for command in re.findall(r'"(python -m [^"]*(?:"\s*"[^"]*)*)"', text):
        for word in re.findall(r"\{([^}]+)\}", command):
            name, _, quote = word.partition(":")
            assert (quote == "q") if name in QUOTED else PLAIN.fullmatch(name), f"{file.name}: {{{word}}} in {command}"
