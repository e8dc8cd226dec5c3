"""The wheel and the archive of sources: built, installed in an environment of their own, and used in another folder."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import installed
import tiny
from hub_server import TOKEN, HubServer, serving
from prunebench.storage.packed import PACKED
from studies import STUDY

pytestmark = pytest.mark.wheel
SMALL = ("--samples", "4", "--seqlen", "16")
MODEL = "{title: Tiny, family: llama, source: {kind: path, path: ../model}}"


def run(*words: str, cwd: Path, **settings: str) -> str:
    """Run a command with further environment variables, and return its output; it must succeed."""
    usual = {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "PRUNEBENCH_CACHE": str(cwd / "cache")}
    environment = {**{key: os.environ[key] for key in os.environ if key != "PYTHONPATH"}, **usual, **settings}
    process = subprocess.run(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.returncode == 0 and "Traceback" not in process.stdout, process.stdout
    return process.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive of sources, made from the tracked files, and two wheels: of the tree and of it."""
    place = tmp_path_factory.mktemp("archives")
    tree = place / "tree"
    listed = run("git", "ls-files", "-z", cwd=installed.REPOSITORY).split("\0")
    for name in filter(None, listed):
        if (installed.REPOSITORY / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((installed.REPOSITORY / name).read_bytes())
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(place), cwd=tree)
    (source,) = place.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    for name, directory in {"of_tree": tree, "of_sources": unpacked}.items():
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(place / name)]
        run(sys.executable, "-m", "pip", "wheel", *options, str(directory), cwd=place)
    return place


@pytest.fixture(scope="module", params=["of_tree", "of_sources"])
def environment(request: pytest.FixtureRequest, archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, and with the other packages of this environment."""
    place = tmp_path_factory.mktemp(request.param)
    run(sys.executable, "-m", "venv", "--without-pip", str(place), cwd=place)
    (library,) = place.glob("lib/python*/site-packages")
    (library / "others.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = (archives / request.param).glob("*.whl")
    options = ["--python", str(place / "bin/python"), "install", "--no-deps", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", *options, str(wheel), cwd=place)
    return place / "bin"


def test_commands_on_one_model_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    model = str(tiny.make_model(tmp_path / "model"))
    np.save(tmp_path / "tokens.npy", tiny.tokens(4, 16).numpy())
    tokens = ["--tokens", str(tmp_path / "tokens.npy")]
    (work := tmp_path / "work").mkdir()
    command = str(environment / "prunebench")
    wanda = ["--method", "wanda", "--sparsity", "0.5", "--calibration", tokens[1]]
    run(command, "prune", model, *wanda, "--out", "out", cwd=work)
    assert "perplexity" in run(command, "ppl", "out", *tokens, cwd=work)
    assert "ratio" in run(command, "compare", model, "out", *tokens, cwd=work)
    assert "out" in run(command, "export", "out", "packed", "--packed", cwd=work)
    small = ["--prompt", "8", "--tokens", "4", "--repeats", "1"]
    assert "kernel" in run(command, "speed", "packed", "--against", model, *small, cwd=work).lower()
    for words in (["methods"], ["allocators"], ["suites"], ["models"], ["corpora"], ["plan"]):
        run(command, *words, cwd=work)


HUB_MODEL, REPO = "HuggingFaceTB/SmolLM2-135M", "my-name/SmolLM2-135M-pruned"
"""The names in docs/from-hub-to-hub.ipynb."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """A hub with a tiny model under the name HUB_MODEL."""
    model = tiny.make_model(tmp_path / "hub_model")
    with serving() as server:
        server.add("models", HUB_MODEL, {path.name: path.read_bytes() for path in model.iterdir()})
        yield server


def arrived(hub: HubServer) -> set[str]:
    repository = hub.repositories["models", REPO]
    return set(repository.commits[repository.revisions["main"]])


def test_five_commands_from_a_hub_id_to_a_pushed_checkpoint(environment: Path, hub: HubServer, tmp_path: Path) -> None:
    (work := tmp_path / "work").mkdir()
    (work / "text.txt").write_text("\n".join(tiny.make_text(60)))
    settings = hub.environment(tmp_path / "hub_cache", TOKEN)
    text = ["--text", "text.txt", "--seqlen", "16"]
    for words in (
        ["prune", HUB_MODEL, "--sparsity", "0.5", "--calibration", "text.txt", *SMALL, "--out", "pruned"],
        ["eval", "pruned", "--task", "boolq", "--limit", "2", "--out", "scores"],
        ["compare", HUB_MODEL, "pruned", *text],
        ["export", "pruned", "packed", "--packed"],
        ["push", "packed", REPO, "--results", "scores"],
    ):
        said = run(str(environment / "prunebench"), *words, cwd=work, **settings)
    assert said.splitlines()[-1].startswith(f"{hub.endpoint}/{REPO}/commit/")
    assert {PACKED, "prunebench.json", "README.md"} <= arrived(hub)


def test_the_notebook_does_the_same(environment: Path, hub: HubServer, tmp_path: Path) -> None:
    (work := tmp_path / "work").mkdir()
    notebook = json.loads((installed.REPOSITORY / "docs/from-hub-to-hub.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if "outputs" in cell), "clear all outputs"
    text = repr(["\n".join(tiny.make_text(60))])
    # The tiny model cannot read windows of 512 tokens, and the corpora of the catalog come from the network.
    for before, after in {
        '"c4_type"': f"{text}, seqlen=16",
        '"wikipedia"': f"{text}, seqlen=16",
        "samples=16": "samples=4",
        "limit=50": "limit=2",
    }.items():
        assert before in code
        code = code.replace(before, after)
    (work / "pruned").mkdir()
    (work / "pruned/theirs.txt").write_text("a model that the reader has made before")
    said = run(str(environment / "python"), "-c", code, cwd=work, **hub.environment(tmp_path / "hub_cache", TOKEN))
    assert f"{hub.endpoint}/{REPO}/commit/" in said and "LlamaForCausalLM" in said
    assert {PACKED, "prunebench.json", "README.md"} <= arrived(hub)
    assert (work / "pruned/theirs.txt").exists()


def test_a_study_in_a_new_project(environment: Path, tmp_path: Path) -> None:
    tiny.make_model(tmp_path / "model")
    (tmp_path / "text.txt").write_text("\n".join(tiny.make_text(60)))
    run(str(environment / "prunebench"), "init", "study", cwd=tmp_path)
    project = tmp_path / "study"
    config = {key: STUDY[key] for key in ("compute", "suites")}
    config["suites"] = {"ppl_tiny": STUDY["suites"]["ppl_tiny"]}
    config["studies"] = STUDY["studies"]
    config["models"] = {"tiny": yaml.safe_load(MODEL)}
    config["corpora"] = {
        "text": {"title": "T", "source": {"kind": "path", "path": "../text.txt"}, "documents": "lines"}
    }
    (project / "config/config.yaml").write_text(yaml.safe_dump(config))
    path = f"{environment}{os.pathsep}{os.environ['PATH']}"
    run("env", f"PATH={path}", str(environment / "python"), "-m", "snakemake", "--cores", "1", cwd=project)
    assert (project / "results/report/index.html").is_file()
    assert "5" in run(str(environment / "prunebench"), "status", cwd=project)
