"""`prunebench methods`, `allocators`, `suites`, `models`, `corpora` and `new`: what there is, and adding to it."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from prunebench import registry
from prunebench.choices.shelf import Shelf
from prunebench.cli import app
from studies import STUDY, changed


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config and a catalog."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config/catalog").mkdir(parents=True)
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(STUDY))
    (tmp_path / "config/catalog/allocators.yaml").write_text(
        "owl_wide: {allocator: owl, params: {spread: 0.2}}\nhalf: {allocator: uniform, layers: first_half}\n"
    )
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    """The output, its lines joined: where they break depends on the terminal."""
    run = CliRunner().invoke(app, list(words), env={"COLUMNS": "240"})
    assert run.exit_code == code, run.output
    return run.output


@pytest.mark.parametrize("kind", ["methods", "allocators", "suites"])
def test_every_plugin_is_listed(kind: str, project: Path) -> None:
    first_words = {line.split()[0] for line in run(kind).splitlines() if line.strip()}
    assert set(registry.names(kind)) <= first_words


def test_entries_of_the_config_and_of_the_catalog_are_listed_with_their_place(project: Path) -> None:
    assert re.search(r"wanda_down +Wanda \(config.yaml\): wanda, rounding: down\n", run("methods"))
    assert re.search(r"wanda_released +Wanda: wanda, preset released\n", run("methods")), "the package's have no file"
    assert re.search(r"owl_wide +OWL \(allocators.yaml\): owl, spread: 0.2\n", run("allocators"))
    assert re.search(r"half +Uniform \(allocators.yaml\): uniform, layers: first_half\n", run("allocators"))
    assert re.search(r"layers +first_half", run("allocators", "half"))
    assert re.search(r"tiny +Tiny \(config.yaml\): llama, from some-model 1.0\n", run("models"))


def test_a_plugin_that_needs_parameters_says_which(project: Path) -> None:
    assert "external  " in run("methods") and "needs an entry of its own, with model. Replace" in run("methods")


@pytest.mark.parametrize("kind", ["methods", "allocators", "suites", "models", "corpora"])
def test_a_list_has_one_line_for_each_name_at_any_width(kind: str, project: Path) -> None:
    narrow, wide = (next(iter(Shelf(kind).listing(width).renderables)) for width in (80, 10_000))
    lines, whole = narrow.plain.splitlines(), wide.plain.splitlines()
    assert len(lines) == len(whole) and max(map(len, lines)) <= 80 < max(map(len, whole))
    for line, full in zip(lines, whole, strict=True):
        assert full.startswith(line.removesuffix(" …")), "words are left out at the end only"
    assert f"prunebench {kind} NAME" in run(kind).splitlines()[-1]


def test_a_method_in_detail(project: Path) -> None:
    text = run("methods", "wanda_down")
    assert "from config/config.yaml" in text
    assert "Sun et al. 2024" in text
    assert re.search(r"preset released +rounding: down", text)
    assert re.search(r"collects +site_norm", text)
    assert re.search(r"rounding +│ nearest \| down +│ nearest +│ down", text)


def test_parameters_with_their_limits_and_meaning(project: Path) -> None:
    text = run("allocators", "owl_wide")
    assert re.search(r"M +│ number > 0 +│ 5 +│ +│ an outlier is a score above M times the mean", text)
    assert re.search(r"spread +│ number >= 0 +│ 0.08 +│ 0.2 +│ lambda", text)
    assert re.search(r"corpora +│ list of string +│ required +│ +│ catalog names", run("suites", "perplexity"))


def test_corpora_are_listed_with_the_place_that_they_come_from(project: Path) -> None:
    text = run("corpora")
    assert re.search(r"wikipedia +Wikipedia: package, from exllamav3 [0-9.]+\n", text), text
    assert re.search(r"(?m)^c4 +C4: hub, from allenai/c4 at", text), text
    assert re.search(r"passages .*\(for training only\)", text), text
    assert "documents: wikiextractor" in run("corpora", "wikipedia")


@pytest.mark.parametrize(
    ("word", "names", "near"),
    [
        ("SparseGPT", ["sparsegpt", "sparsellm"], ["sparsegpt"]),
        ("Dense Fit", ["dense", "dense_fit"], ["dense_fit"]),
        ("pruner-zero", ["pruner_zero", "prune"], ["pruner_zero"]),
        ("wiki", ["wikitext2", "ptb", "wikipedia"], ["wikipedia", "wikitext2"]),
        ("opt", [f"opt_{size}b" for size in range(6)], ["opt_0b", "opt_1b", "opt_2b"]),
        ("magic", ["wanda"], []),
    ],
)
def test_near_names_are_found_as_people_spell_them(word: str, names: list[str], near: list[str]) -> None:
    assert registry.nearest(word, names) == near


def test_a_model_in_detail(project: Path) -> None:
    assert "package: some-model" in run("models", "tiny")


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("methods", "wandda", "unknown method 'wandda': did you mean 'wanda'?"),
        ("models", "tinny", "did you mean 'tiny'?"),
    ],
)
def test_unknown_names_are_explained(kind: str, name: str, hint: str, project: Path) -> None:
    assert hint in run(kind, name, code=1)


def test_a_config_with_unknown_names_can_still_ask_what_there_is(project: Path) -> None:
    (project / "config/config.yaml").write_text(yaml.safe_dump(changed("studies.tiny.suites", ["typo"])))
    assert "wanda_down" in run("methods")


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        ("method", "Mine", "'Mine' cannot be a file of methods"),
        ("method", "my-method", "cannot be a file of methods"),
        ("method", "2nd", "cannot be a file of methods"),
        ("method", "lambda", "cannot be a file of methods"),
        ("method", "../mine", "cannot be a file of methods"),
        ("method", "wanda", "is there already"),
        ("method", "besa_learning", "is there already"),
        ("method", "wanda_down", "'wanda_down' is a known method, from config/config.yaml"),
        ("allocator", "owl_wide", "'owl_wide' is a known allocator, from config/catalog/allocators.yaml"),
    ],
)
def test_bad_and_taken_names_are_refused(kind: str, name: str, problem: str, project: Path) -> None:
    before = sorted(registry.PACKAGE.rglob("*.py"))
    assert problem in run("new", kind, name, code=1)
    assert sorted(registry.PACKAGE.rglob("*.py")) == before and not list(project.rglob("*.py"))
