"""Everything that the documents tell a reader to type is run, in their order, as it stands there.

It runs in a project whose catalogs name tiny local models, texts and tasks under the names of the real ones, and whose
studies are cut down: the quickstart to the cells that commands name, others to their first row. A new line in a
document needs no edit here:

- what has to be installed or takes hours is listed in SET_UP, with the reason,
- a comment `# exits N` says that another exit code than 0 is right, `# ... Ctrl-C` that the reader stops the command,
- a path below `path/to/` is something that the reader has: the project gets it, unless it comes after `--out`,
- a Python block is run by itself; after a sentence that ends in `FILE.py`: it is that file; a plug-in is tested,
- a YAML block is a config, or sections to be added to one.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import tiny
import zeroshot
from dag.tree import Tree
from documents import DOCUMENTS, REPOSITORY, Block, Command, blocks, commands, read
from prunebench.config.schema import CATALOG
from prunebench.plan.plan import load_plan

SET_UP = {
    "make demo": "make install, then `snakemake --cores all`, which is run here",
    "make install && . .venv/bin/activate": "the gate begins with it",
    "make test": "the gate itself",
    "pytest -n logical --dist loadfile": "make test",
    "python3 -m venv .venv && . .venv/bin/activate": "make install, with which the gate begins",
    "pip install torch==2.13.0": "make install",
    "pip install -c constraints.txt -e .[dev,slurm]": "make install",
    "pip install -c constraints.txt -e .[slurm]": "make install",
    "snakemake --workflow-profile profiles/slurm": "a cluster is needed: tests/cluster brings one up",
    "snakemake --cores all --configfile config/studies/sparsellm-table1.yaml": "GPU-days; test_miniatures.py instead",
    "prunebench push pruned my-name/my-model-pruned --private --results scores": "an account is needed",
    "make bench": "fifty minutes, on the real model",
    "make bench-peers": "another program, installed from the registry, on the real model",
    "python -m benches.run --quick": "minutes, on the real model",
    "python -m benches.block": "minutes, on the real model",
}
"""Commands that are not run here, and why."""
ACTING = [
    document for document in DOCUMENTS if any(block.language in ("sh", "python") for block in blocks(read(document)))
]
LOOK = "20"
"""Seconds after which an endless command is stopped."""
CELL = re.compile(r"(\w+)/(\w+)/(\w+)/(?:unstructured-s(0\.\d\d)|(\d+of\d+))/(\w+)-seed(\d+)")
GIVEN = re.compile(r"(?<![\w.-])/?(path/to/[\w./-]*\w)")
MADE = re.compile(r"\bout[ =]\"?/?(path/to/[\w./-]*\w)")


def lines() -> Iterator[Command]:
    """The commands of all documents."""
    for document in DOCUMENTS:
        for block in blocks(read(document)):
            yield from commands(block) if block.language == "sh" else ()


def in_place(text: str, project: Path) -> str:
    """`text` with absolute paths of the reader's inside the project."""
    return re.sub(r"(?<![\w.-])/path/to/", f"{project}/path/to/", text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tiny project, before anything ran. It has the tests and all files beside them too: commands read some."""
    tree = Tree.create(tmp_path_factory.mktemp("project"))
    shutil.copytree(REPOSITORY / "tests", tree.root / "tests")
    for file in filter(Path.is_file, REPOSITORY.iterdir()):
        shutil.copy2(file, tree.root)
    assets = tree.root / "assets"
    for name in ("llama", "opt"):
        sizes = {**zeroshot.READER, "max_position_embeddings": 2048}
        tiny.make_model(assets / name, name, tokenizer=zeroshot.reading_tokenizer(), **sizes)
    (assets / "text.txt").write_text("\n".join(tiny.make_text(1000)))
    for kind, local in {"models": _model, "corpora": _corpus, "tasks": _tasks}.items():
        with _edited(tree.root / CATALOG / f"{kind}.yaml") as entries:
            entries.update({name: local(entry, assets) for name, entry in entries.items()})
    named = {found.groups() for command in lines() for found in CELL.finditer(command.text)}
    quickstart = tree.root / "config/config.yaml"
    for file in (quickstart, *quickstart.parent.glob("studies/*.yaml")):
        with _edited(file) as config:
            for study in config["studies"].values():
                rows = [_row(cell) for cell in sorted(named)] if file == quickstart else []
                study["grid"] = rows or study["grid"][:1]
    _give(tree.root)
    return tree


@pytest.fixture(scope="module")
def finished(project: Tree) -> Tree:
    """A copy of the workflow after the run that all documents presuppose."""
    run = project.run("snakemake", "--cores", "all")
    assert run.returncode == 0, run.stdout
    return project


@contextmanager
def _edited(file: Path) -> Iterator[dict[str, Any]]:
    """The mapping in a YAML file, written back with its changes."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    yield content
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def _model(entry: dict[str, Any], assets: Path) -> dict[str, Any]:
    if not (assets / entry["family"]).is_dir():
        return entry  # no command of a document opens a model of this family
    source = {"kind": "path", "path": str(assets / entry["family"])}
    return {"title": entry["title"], "family": entry["family"], "source": source}


def _corpus(entry: dict[str, Any], assets: Path) -> dict[str, Any]:
    source = {"kind": "path", "path": str(assets / "text.txt")}
    return {"title": entry["title"], "source": source, "documents": "lines"}


def _tasks(entry: dict[str, Any], assets: Path) -> dict[str, Any]:
    if any("images" in task for task in entry["tasks"].values()):
        return entry  # no command of a document reads rows with images
    return zeroshot.bundle(assets / "tasks", *entry["tasks"])


def _row(cell: tuple[Any, ...]) -> dict[str, Any]:
    """The row of a grid for what CELL found."""
    *axes, seed = cell
    names = ("model", "method", "allocator", "sparsity", "pattern", "calibration")
    row = {name: value for name, value in zip(names, axes, strict=True) if value not in (None, "none")}
    return {**row, "seed": int(seed)}


def _give(root: Path) -> None:
    """Make what readers have: models, and by their suffix token files and texts."""
    texts = [block.text for document in DOCUMENTS for block in blocks(read(document))]
    given, made = ({name for text in texts for name in pattern.findall(text)} for pattern in (GIVEN, MADE))
    for name in given - made:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, tiny.tokens(4, 32).numpy())
        elif path.suffix:
            shutil.copy(root / "assets/text.txt", path)
        else:
            shutil.copytree(root / "assets/llama", path, dirs_exist_ok=True)


class Reader:
    """Types what a document says, in a project of their own."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._environment = {
            "PYTHONPATH": str(tree.root / "workflow"),
            "PRUNEBENCH_CACHE": str(tree.root / "cache"),
            "COLUMNS": "200",
        }

    def types(self, command: Command) -> None:
        """The command ends as the document says."""
        text = in_place(command.text, self._tree.root)
        if " ".join(command.words) in SET_UP:
            return
        if command.endless:
            said = self._runs({0, 130}, "timeout", "--preserve-status", "--signal=INT", LOOK, "bash", "-c", text)
            assert said, f"{command.text} said nothing"
        else:
            self._runs({command.exit_code}, "bash", "-c", text)

    def writes(self, block: Block) -> str:
        """A Python block runs, passes the contract tests as a plug-in, or is a part of a rule, which commands run.

        Returns what it prints.
        """
        path = self._tree.root / (block.file or "block.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(in_place(block.text, self._tree.root), encoding="utf-8")
        tests = f"tests/contract/test_{path.parent.name}.py"
        if block.file and (self._tree.root / tests).exists():
            return self._runs({0}, "pytest", tests, "-k", path.stem)
        return "" if block.file else self._runs({0}, "python", str(path))

    def _runs(self, right: set[int], *words: str) -> str:
        """Run a command, whose exit code must be one of `right`; what it prints."""
        settings = (f"{name}={value}" for name, value in self._environment.items())
        run = self._tree.run("env", *settings, *words)
        assert run.returncode in right, f"{shlex.join(run.args)}\nexit code {run.returncode}\n{run.stdout}"
        return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("document", ACTING)
def test_a_reader_gets_through(document: str, finished: Tree, tmp_path: Path) -> None:
    reader = Reader(finished.copy(tmp_path / "project"))
    for block in blocks(read(document)):
        if block.language == "sh":
            for command in commands(block):
                reader.types(command)
        elif block.language == "python":
            reader.writes(block)


@pytest.mark.slow
def test_the_notebook_runs(finished: Tree, tmp_path: Path) -> None:
    reader = Reader(finished.copy(tmp_path / "project"))
    notebook = json.loads(read("docs/first-steps.ipynb"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if "outputs" in cell), "clear all outputs"
    said = reader.writes(Block("python", "\n".join(code), 0, None))
    assert "0.0" not in said.splitlines()[0] and "LlamaForCausalLM" in said and "boolq acc" in said


def _calibrating(corpora: Mapping[str, Any]) -> list[str]:
    """The corpora of a block that text may be drawn from."""
    return [name for name, corpus in corpora.items() if corpus.get("use") != "training"] or ["c4_type"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "block"),
    [
        pytest.param(document, block, id=f"{document}:{block.line}")
        for document in DOCUMENTS
        for block in blocks(read(document))
        if block.language == "yaml"
    ],
)
def test_yaml_blocks_are_configs(document: str, block: Block, project: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    assert load_plan(_completed(yaml.safe_load(in_place(block.text, project.root))), document).cells


def _completed(sections: dict[str, Any]) -> dict[str, Any]:
    """A config; sections without a study get one that uses all their entries."""
    row = {
        "model": [*sections.get("models", ["smollm2_135m"])],
        "method": ["dense", *sections.get("methods", [])],
        "allocator": ["uniform", *sections.get("allocators", [])],
        "sparsity": 0.5,
        "calibration": [f"{corpus}_16x512" for corpus in _calibrating(sections.get("corpora", {}))],
    }
    return {"studies": {"one": {"suites": [*sections.get("suites", ["ppl"])], "grid": [row]}}, **sections}


def test_what_is_not_run_is_still_in_the_documents() -> None:
    typed = {" ".join(command.words) for command in lines()}
    assert SET_UP.keys() - typed == set()
