"""Models that are named by their id on the hub, on the command line and in a study."""

import logging
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

import hub_repositories
import tiny
from hub_server import TOKEN, HubServer
from prunebench.cli import app
from prunebench.errors import PrunebenchError
from prunebench.plan.plan import load_plan
from prunebench.standalone import request
from prunebench.standalone.measure import load
from studies import STUDY, changed

LLAMA, PICKLED, GATED = "huggyllama/llama-7b", hub_repositories.PICKLED[0], hub_repositories.GATED[0]
COMPUTE = request.compute_settings(threads=1)


@pytest.fixture(autouse=True)
def here(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with caches of its own."""
    request._hub_entry.cache_clear()
    hub.connect(monkeypatch, tmp_path / "hub")
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("model", "weights"),
    [(LLAMA, "safetensors"), (PICKLED, "pytorch"), ("facebook/opt-125m@main", "pytorch")],
)
def test_an_id_is_fetched_at_its_commit_and_found_again_without_a_network(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, weights: str
) -> None:
    repo = model.partition("@")[0]
    _, entries = request.model_entry(model)
    (entry,) = entries.values()
    commit = entry["source"]["revision"]
    assert entry["source"] == {"kind": "hub", "repo": repo, "revision": commit, "weights": weights}
    assert len(commit) == 40 and entry["title"] == f"{repo} ({commit[:7]})"
    assert entry["shape"]["hidden"] == hub_repositories.SHAPE["hidden"]
    assert load(model, COMPUTE).manifest.title == entry["title"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "another"))
    request._hub_entry.cache_clear()
    requests = len(hub.requests)
    assert load(model, COMPUTE).manifest.title == entry["title"]
    assert len(hub.requests) == requests


def test_a_model_that_the_cache_has_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    request.model_entry(LLAMA)  # This brings its config and index alone.
    request._hub_entry.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = f"has no model-0000.* of {LLAMA} at [0-9a-f]{{40}}: unset HF_HUB_OFFLINE"
    with pytest.raises(PrunebenchError, match=message):
        load(LLAMA, COMPUTE)


def test_a_gated_model_says_what_to_do(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrunebenchError, match=f"as an id on the hub: {GATED} is gated: accept its conditions on"):
        request.model_entry(GATED)
    assert hub.downloads() == []
    hub.connect(monkeypatch, tmp_path / "hub", TOKEN)
    assert request.model_entry(GATED)[0] == "meta_llama_llama_2_7b_hf"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("huggyllama/llama-7", "huggyllama/llama-7 is no directory here, and as an id on the hub: .* has no model"),
        (f"{LLAMA}@v9", "has no revision v9"),
    ],
)
def test_an_id_that_the_hub_does_not_have(model: str, message: str) -> None:
    with pytest.raises(PrunebenchError, match=message):
        request.model_entry(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("smollm2_135", "did you mean 'smollm2_135m'?"),
        ("smollm2-135m", "did you mean 'smollm2_135m'?"),
        ("path/to/model", "neither a directory nor a model of the catalog, nor owner/name on a hub"),
        ("./owner/name", "there is no such directory"),
        ("owner/", "neither a directory"),
    ],
)
def test_other_names_ask_no_hub(hub: HubServer, model: str, message: str) -> None:
    with pytest.raises(PrunebenchError) as raised:
        request.model_entry(model)
    assert message in str(raised.value)
    assert hub.requests == []


def test_a_directory_with_the_name_of_an_id_is_used_and_named(
    hub: HubServer, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request._tell_of_directory.cache_clear()
    tiny.make_model(here / LLAMA)
    with caplog.at_level(logging.INFO, "prunebench"):
        _, entries = request.model_entry(LLAMA)
        request.model_entry(f"./{LLAMA}")
    (entry,) = entries.values()
    assert entry["source"] == {"kind": "path", "path": str(here / LLAMA)}
    assert [line for line in caplog.messages if "hub" in line] == [
        f"{LLAMA} is a directory here: it is used, and the hub is not asked for this name"
    ]
    assert hub.requests == []


def test_a_command_prunes_an_id(here: Path) -> None:
    words = ["prune", LLAMA, "--method", "magnitude", "--sparsity", "0.5", "--threads", "1", "--out", "out"]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    assert "50.00% zeros" in run.output
    assert LLAMA in (here / "out/README.md").read_text()


def planned(model: Any, **sections: Any) -> Any:
    """The plan of the tiny study with another model."""
    return load_plan(changed("studies.tiny.defaults.model", model, {**STUDY, **sections}), "my.yaml")


def test_a_study_names_models_in_place(hub: HubServer, here: Path) -> None:
    tiny.make_model(here / "Mine")
    plan = planned([{"hub": LLAMA}, {"path": "Mine"}, "tiny"])
    assert {cell.model for cell in plan.cells} == {"huggyllama_llama_7b", "mine", "tiny"}
    source = {"kind": "hub", "repo": LLAMA, "revision": "main"}
    shape = {**hub_repositories.SHAPE, "key_value": 32, "context": 64}
    entry = {"title": "x", "family": "llama", "source": source, "shape": shape}
    name = "huggyllama_llama_7b"
    own = planned(name, models={**STUDY["models"], name: entry})
    assert plan.asset(f"models/{name}").spec == own.asset(f"models/{name}").spec
    requests = len(hub.requests)
    assert planned([{"hub": LLAMA}, {"path": "Mine"}, "tiny"]).raw == plan.raw
    assert len(hub.requests) == requests  # Every job parses the config.


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"hub": "llama 7b"}, "studies.tiny.defaults.model: hub: must be OWNER/NAME"),
        ({"hub": LLAMA, "revison": "main"}, "unknown key 'revison': did you mean 'revision'?"),
        ({"hub": LLAMA, "path": "x"}, "unknown key 'hub'"),
        ({}, "'hub' is missing"),
        ({"path": "nowhere"}, "my.yaml: model nowhere: no such directory: nowhere"),
        ({"hub": "huggyllama/llama-7"}, "my.yaml: model huggyllama_llama_7: .* has no model huggyllama/llama-7"),
        ([{"path": "tiny"}, "tiny"], "my.yaml: two models would be called 'tiny'"),
        ([{"path": "a/x"}, {"path": "b/x"}], "my.yaml: two models would be called 'x'"),
    ],
    ids=str,
)
def test_a_mistake_in_place_is_explained(model: Any, message: str) -> None:
    with pytest.raises(PrunebenchError, match=message):
        planned(model)
