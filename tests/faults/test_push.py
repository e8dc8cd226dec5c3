"""Uploads to the hub, which a local server stands for."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file
from typer.testing import CliRunner

import prunebench
import tiny
from hub_server import OTHER_TOKEN, TOKEN, HubServer, serving
from prunebench.cli import app
from prunebench.errors import PrunebenchError
from prunebench.standalone import request
from prunebench.standalone.push import RESULTS, card

REPO = "me/small-pruned"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with serving() as server:
        server.connect(monkeypatch, tmp_path / "hub", TOKEN)
        monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))
        request._hub_entry.cache_clear()
        yield server


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned model in several files, with files that must stay at home."""
    root = tmp_path_factory.mktemp("push")
    model = tiny.make_model(root / "small", shard="20KB")
    prunebench.prune(model, out=root / "pruned", method="magnitude", sparsity=0.5, threads=1)
    (root / "pruned/.cache").mkdir()
    (root / "pruned/.cache/secret").write_text("mine")
    record = json.loads((root / "pruned/prunebench.json").read_text())
    results = {
        "model_info": {"additional_details": {"pruned_weights": record["prune"]["weights"]}},
        "evaluation_timestamp": "1800000000",
        "eval_library": {"name": "lm_eval", "version": "0.4.13"},
        "evaluation_results": [
            _result("boolq", 0.625, 8, {"source_type": "hf_dataset", "hf_repo": "aps/super_glue"}),
            _result("wikipedia", 23.4, 32, {"source_type": "other"}, metric_id="perplexity", metric_name="Perplexity"),
        ],
    }
    (root / "results").mkdir()
    (root / "results/every_eval_ever.json").write_text(json.dumps(results))
    (root / "other").mkdir()
    other = {**results, "model_info": {"id": "dense", "additional_details": {}}}
    (root / "other/every_eval_ever.json").write_text(json.dumps(other))
    return root / "pruned"


def _result(name: str, score: float, rows: int, data: dict[str, str], **metric: str) -> dict[str, Any]:
    return {
        "evaluation_name": name,
        "source_data": data,
        "metric_config": {"metric_id": "accuracy", "metric_name": "Accuracy", **metric},
        "score_details": {"score": score, "uncertainty": {"num_samples": rows}},
    }


def push(*words: Any) -> Any:
    return CliRunner().invoke(app, ["push", *map(str, words)])


def files(hub: HubServer) -> dict[str, bytes]:
    repository = hub.repositories["models", REPO]
    return repository.commits[repository.revisions["main"]]


def test_everything_arrives_and_is_loaded_again(hub: HubServer, pruned: Path, tmp_path: Path) -> None:
    done = push(pruned, REPO, "--private", "--results", pruned.parent / "results")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().startswith(f"{hub.endpoint}/{REPO}/commit/")
    assert hub.repositories["models", REPO].private
    arrived, local = files(hub), {path.name for path in pruned.iterdir() if path.is_file()}
    assert arrived.keys() == {*local, RESULTS, "prunebench_evaluation.json"}
    shards = sorted(name for name in arrived if name.endswith(".safetensors"))
    assert len(shards) > 1 and all(arrived[name] == (pruned / name).read_bytes() for name in shards)
    assert yaml.safe_load(arrived[RESULTS]) == [
        {
            "dataset": {"id": "aps/super_glue", "task_id": "boolq"},
            "value": 62.5,
            "date": "2027-01-15T08:00:00Z",
            "notes": "Accuracy in percent, 8 rows, lm_eval 0.4.13",
        }
    ]
    readme = arrived["README.md"].decode()
    assert yaml.safe_load(readme.split("---\n")[1]) == {
        "library_name": "transformers",
        "tags": ["prunebench", "pruned"],
    }
    assert "# small, pruned to 50%" in readme and "| wikipedia | Perplexity | 23.4 | 32 |" in readme
    assert "---" not in (pruned / "README.md").read_text().splitlines()[0], "the directory stays as it is"
    score = prunebench.perplexity(REPO, tiny.tokens(2, 16), threads=1)
    assert score.value == prunebench.perplexity(pruned, tiny.tokens(2, 16), threads=1).value
    assert load_file(pruned / shards[0])


def test_an_interrupted_upload_goes_on(hub: HubServer, pruned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = len(list(pruned.glob("*.safetensors")))
    hub.faults.uploads = 2
    stopped = push(pruned, REPO)
    assert stopped.exit_code == 1 and "What has arrived is not sent again: run again" in stopped.stderr
    assert len(hub.objects) == 2 and not files(hub), "nothing is committed"
    hub.faults.uploads = None
    hub.requests.clear()
    assert push(pruned, REPO).exit_code == 0
    sent = [path for method, path, _ in hub.requests if method == "PUT"]
    assert len(sent) == shards - 2 and "prunebench.json" in files(hub)
    hub.requests.clear()
    assert push(pruned, REPO).exit_code == 0
    assert not [path for method, path, _ in hub.requests if method == "PUT"], "a second push sends no weights"


@pytest.mark.parametrize("token", ["", OTHER_TOKEN])
def test_without_a_token_that_may_write(
    hub: HubServer, pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    hub.connect(monkeypatch, tmp_path / "hub", token)
    refused = push(pruned, REPO)
    said = " ".join(refused.stderr.split())
    assert refused.exit_code == 1 and f"{hub.endpoint}/settings/tokens" in said and "HF_TOKEN" in said
    assert ("there is no token" in said) == (token == "") and not hub.repositories
    assert bool(hub.requests) == bool(token), "without a token nobody is asked"


def test_mistakes_are_explained_before_anything_is_sent(
    hub: HubServer, pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tiny.make_model(tmp_path / "foreign")
    for words, message in {
        (pruned, "small"): "REPO: 'small' is not of the form OWNER/NAME",
        (pruned, "a/b/c"): "is not of the form OWNER/NAME",
        (tmp_path, REPO): "has no config.json",
        (foreign, REPO): "has no prunebench.json: it is no model that prunebench has pruned or exported",
        (pruned, REPO, "--results", tmp_path): "--results: ",
        (
            pruned,
            REPO,
            "--results",
            pruned.parent / "other",
        ): "other has scores of a model that it does not name",
    }.items():
        refused = push(*words)
        assert refused.exit_code == 1 and message in " ".join(refused.stderr.split()), refused.output
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in push(pruned, REPO).stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub.requests == []
    hub.add("models", REPO, {"README.md": b"mine"})
    assert f"{REPO} is there and is public" in " ".join(push(pruned, REPO, "--private").stderr.split())
    assert files(hub) == {"README.md": b"mine"}
    hub.faults.down = True
    monkeypatch.setattr("huggingface_hub.utils._http.http_backoff", lambda *_, **__: pytest.fail("it waits"))
    assert "answers 503" in push(pruned, REPO).stderr


def test_the_function_uploads_and_names_arguments(hub: HubServer, pruned: Path, tmp_path: Path) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "'repo': 'small' is not of the form OWNER/NAME": {"repo": "small"},
        "'repo' is 3: give a string": {"repo": 3},
        "'private' is 1: give True or False": {"private": 1},
        "'results': give a list of directories": {"results": "results"},
        f"'results': {tmp_path} has no every_eval_ever.json: name a directory that `evaluate(": {"results": [tmp_path]},
    }
    for message, words in wrong.items():
        with pytest.raises(PrunebenchError) as error:
            prunebench.push(**{"directory": pruned, "repo": REPO, **words})
        assert message in str(error.value) and "--" not in str(error.value)
    assert hub.requests == []
    url = prunebench.push(pruned, REPO, results=[pruned.parent / "results"], message="Mine")
    assert url.startswith(f"{hub.endpoint}/{REPO}/commit/")
    assert RESULTS in files(hub)


def test_a_card_names_the_model_that_it_was_made_from() -> None:
    record = {"model": {"source": {"kind": "hub", "repo": "owner/base"}}, "packed": {"bits": 8}}
    front = yaml.safe_load(card("# Title\n", record).split("---\n")[1])
    assert front["base_model"] == "owner/base" and "library_name" not in front and "prunebench-packed" in front["tags"]
    assert card("---\nlicense: mit\n---\n# Title\n", record) == "---\nlicense: mit\n---\n# Title\n"
