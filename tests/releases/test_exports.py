"""Exports read by other releases of transformers, in environments of their own: make test-transformers.

A release counts as reading an export if it computes what the newest computes from the source with the same weights.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import prunebench
from prunebench.errors import PrunebenchError
from prunebench.standalone.portable import OLDEST, portable_config, portable_tokenizer
from prunebench.storage.files import read_json, write_json
from prunebench.storage.layout import family_of as reader
from prunebench.storage.layout import read_config
from releases import describe as script
from releases.models import MODELS, TOKENIZERS, write_model, write_tokenizer

pytestmark = pytest.mark.transformers

RELEASES = (f"{OLDEST}.0", "4.57.6")
"""The oldest that README names, and the last before 5. The newest is the one of these tests."""
PLACE = "PRUNEBENCH_TEST_ENVIRONMENTS"
"""Names the directory of the environments, which are made once; default pytest's cache."""


@dataclass(frozen=True)
class Pair:
    """A model directory and what the package exports of it."""

    source: Path
    export: Path


@pytest.fixture(scope="session")
def environments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The Python of an environment with each release."""
    cache = getattr(request.config, "cache", None)
    home = Path(os.environ.get(PLACE) or (cache.mkdir("environments") if cache else tmp_path_factory.mktemp("venvs")))
    return {release: environment(home / f"transformers-{release}", release) for release in RELEASES}


def environment(directory: Path, release: str) -> Path:
    """An environment with a release of transformers; torch and the rest are those of these tests."""
    python, ready = directory / "bin/python", directory / "ready"
    if not ready.exists():
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"transformers=={release}", "sentencepiece", "protobuf"], check=True)
        (site,) = directory.glob("lib/python*/site-packages")
        (site / "torch.pth").write_text(sysconfig.get_path("purelib") + "\n")  # looked into after its own packages
        ready.touch()
    return python


def run(python: Path, *words: object) -> str:
    """The output of describe.py in an environment."""
    process = subprocess.run(
        [python, script.__file__, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def described(python: Path, directories: list[Path]) -> dict[Path, Any]:
    """The descriptions of directories by the release of an environment."""
    said = json.loads(run(python, "describe", *directories).splitlines()[-1])
    return {Path(directory): value for directory, value in said.items()}


def make_export(source: Path, destination: Path, sparsity: float) -> None:
    """Prune by magnitude; a kind of model that the package does not read gets the configs of an export only."""
    try:
        reader(source, read_config(source))
    except PrunebenchError:
        shutil.copytree(source, destination)
        config, tokenizer = (read_json(destination / file) for file in ("config.json", "tokenizer_config.json"))
        write_json(destination / "config.json", portable_config(config, config.get("dtype") or config["torch_dtype"]))
        write_json(destination / "tokenizer_config.json", portable_tokenizer(tokenizer))
    else:
        prunebench.prune(source, out=destination, method="magnitude", sparsity=sparsity, threads=1)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory, environments: dict[str, Path]) -> dict[str, Pair]:
    """All models and tokenizers as transformers 5 writes them, and as the oldest release does ("old ...")."""
    root = tmp_path_factory.mktemp("models")
    os.environ["PRUNEBENCH_CACHE"] = str(root / "cache")
    names = {name: root / "sources" / name.replace(" ", "_") for name in (*MODELS, *TOKENIZERS)}
    for name, directory in names.items():
        write_model(name if name in MODELS else "llama", directory)
        write_tokenizer(name if name in TOKENIZERS else "with specials", directory)
    made = {name: Pair(directory, root / "exports" / directory.name) for name, directory in names.items()}
    for pair in made.values():
        make_export(pair.source, pair.export, 0.5)
    # Written by the older release from what it reads in the exports.
    older = {f"old {name}": root / "old" / names[name].name for name in names}
    words = [word for name, directory in older.items() for word in (made[name[4:]].export, directory)]
    run(environments[RELEASES[0]], "resave", *words)
    for name, directory in older.items():
        made[name] = Pair(directory, root / "old_exports" / directory.name)
        make_export(directory, made[name].export, 0.7)  # on top of the zeros that are there
    return made


@pytest.fixture(scope="session")
def new(pairs: dict[str, Pair]) -> dict[Path, Any]:
    """The descriptions of all directories by the newest release."""
    return described(Path(sys.executable), [path for pair in pairs.values() for path in (pair.source, pair.export)])


@pytest.fixture(scope="session", params=RELEASES)
def old(pairs: dict[str, Pair], environments: dict[str, Path], request: pytest.FixtureRequest) -> dict[Path, Any]:
    """The descriptions by an older release of all exports, and of all sources that it could have written."""
    directories = [pair.export for pair in pairs.values()]
    directories += [pair.source for name, pair in pairs.items() if name.startswith("old ")]
    return described(environments[request.param], directories)


def bits(said: dict[str, Any]) -> Counter[str]:
    """The digests of a model's tensors. Their names in memory differ between releases (GPT-NeoX)."""
    return Counter(said["tensors"].values())


ALL = [f"{age}{name}" for age in ("", "old ") for name in MODELS]


@pytest.mark.parametrize("name", ALL)
def test_a_model_computes_the_same(
    name: str, pairs: dict[str, Pair], new: dict[Path, Any], old: dict[Path, Any], tmp_path: Path
) -> None:
    pair = pairs[name]
    shutil.copytree(pair.source, tmp_path / "reference")
    shutil.copy(pair.export / "model.safetensors", tmp_path / "reference")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "reference", attn_implementation="eager").eval()
    expected = script.loss(reference)
    assert new[pair.export]["loss"] == pytest.approx(expected, rel=1e-6)
    assert old[pair.export]["loss"] == pytest.approx(expected, rel=1e-4)
    for said in (new, old):
        assert said[pair.export]["dtype"] == new[pair.source]["dtype"]
        assert bits(said[pair.export]) == bits(new[pair.export])
        assert said[pair.export]["end"] == [2, 3]


@pytest.mark.parametrize("name", ALL)
def test_weights_that_are_kept_are_the_sources_bit_by_bit(
    name: str, pairs: dict[str, Pair], new: dict[Path, Any]
) -> None:
    pair = pairs[name]
    before, after = (load_file(path / "model.safetensors") for path in (pair.source, pair.export))
    assert before.keys() == after.keys()
    pruned = [key for key in before if not torch.equal(before[key], after[key])]
    for key in pruned:
        kept = after[key] != 0
        assert ".layers." in key and torch.equal(after[key][kept], before[key][kept])
    assert len(bits(new[pair.source]) - bits(new[pair.export])) <= len(pruned)
    assert pruned or pair.source.name.split("_")[0] not in {"llama", "mistral", "qwen2", "qwen3", "gemma", "opt"}


@pytest.mark.parametrize("name", [f"{age}{name}" for age in ("", "old ") for name in TOKENIZERS])
def test_a_tokenizer_does_the_same(
    name: str, pairs: dict[str, Pair], new: dict[Path, Any], old: dict[Path, Any]
) -> None:
    pair = pairs[name]
    for key in ("ids", "text", "shown", "inputs", "special", "named", "side", "longest", "chat"):
        assert new[pair.export][key] == new[pair.source][key], key
        assert old[pair.export][key] == new[pair.source][key], key
    assert len(new[pair.source]["chat"]) == {"one": 1, "two": 2}.get(name.removeprefix("old ").split(" ")[-2:][0], 0)


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("old ")])
def test_what_an_older_release_wrote_is_kept(name: str, pairs: dict[str, Pair], old: dict[Path, Any]) -> None:
    pair = pairs[name]
    before, after = (read_json(path / "config.json") for path in (pair.source, pair.export))
    assert before.items() <= after.items()
    assert after.keys() - before.keys() <= {"dtype"}
    for file in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        assert read_json(pair.export / file) == read_json(pair.source / file)
    assert old[pair.source]["dtype"] == old[pair.export]["dtype"]
