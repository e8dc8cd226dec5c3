"""Assets from the hub: what arrives, and what goes wrong on the way, each with a message that says what to do."""

import gzip
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, constants, file_download
from huggingface_hub.hf_api import RepoFile
from safetensors.torch import load, load_file, save
from transformers import AutoModelForCausalLM

import hub_repositories
from hub_server import OTHER_TOKEN, TOKEN, Faults, HubServer, etag
from prunebench.assets import hub as assets
from prunebench.assets.corpora import load_split
from prunebench.assets.hub_errors import HubUnavailableError
from prunebench.assets.manifest import arrival_path, load_manifest, read_shape
from prunebench.assets.tokens import load_tokenizer
from prunebench.config.entries import CorpusEntry, ModelEntry
from prunebench.config.schema import with_catalogs
from prunebench.config.sources import HubCorpusSource, HubModelSource
from prunebench.engine.anatomy import linear_sizes
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical
from prunebench.plan.plan import Plan
from prunebench.registry import load as family
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.storage.tensors import TensorStore

OPT = {"kind": "hub", "repo": "facebook/opt-125m", "revision": "refs/pr/1"}
LLAMA = {"kind": "hub", "repo": "huggyllama/llama-7b", "revision": "main"}
GATED = {"kind": "hub", "repo": "meta-llama/Llama-2-7b-hf", "revision": "main"}
PTB = {
    "kind": "hub",
    "repo": "ptb-text-only/ptb_text_only",
    "revision": "refs/convert/parquet",
    "files": {"test": ["penn_treebank/test/0000.parquet"]},
}
INDEX = "model.safetensors.index.json"


@pytest.fixture(autouse=True)
def cache(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hub.connect(monkeypatch, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub waits between its attempts, and writes in pieces that are larger than our files."""
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 10)


class Exploit:
    """A pickle of this object writes a file if it is unpickled without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def model_spec(source: dict[str, Any], **changes: Any) -> str:
    entry = {"title": "Tiny", "family": "llama", "source": source, "shape": hub_repositories.SHAPE, **changes}
    return canonical({"entry": ModelEntry.model_validate(entry).model_dump(mode="json")})


def corpus_spec(source: dict[str, Any], **keys: Any) -> str:
    entry = {"title": "Text", "source": source, "documents": "parquet", **keys}
    return canonical({"entry": CorpusEntry.model_validate(entry).model_dump(mode="json")})


def source(of: dict[str, Any]) -> HubModelSource:
    return HubModelSource.model_validate(of)


def commit_of(hub: HubServer, of: dict[str, Any]) -> dict[str, bytes]:
    """The files of a model at a revision."""
    repository = hub.repositories["models", of["repo"]]
    return repository.commits[repository.revisions[of["revision"]]]


def assert_equal_tensors(one: Path, other: Path) -> None:
    ours, theirs = (load_file(directory / "model.safetensors") for directory in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def entries(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def half_files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.name.endswith(".incomplete")]


def test_a_model_arrives_as_links_to_the_files_that_it_consists_of(tmp_path: Path, hub: HubServer, cache: Path) -> None:
    fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    manifest = load_manifest(tmp_path / "model/asset.json")
    shards = {f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)}
    expected = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", INDEX, *shards}
    assert set(manifest.files) == expected
    assert all((tmp_path / "model" / name).resolve().is_relative_to(cache) for name in expected)
    (repository,) = [of for (_, name), of in hub.repositories.items() if name == LLAMA["repo"]]
    commit = repository.revisions["main"]
    assert manifest.arrival
    assert manifest.arrival.model_dump(exclude={"digests"}) == {
        "repo": LLAMA["repo"],
        "revision": "main",
        "commit": commit,
    }
    for name in shards:
        assert (tmp_path / "model" / name).read_bytes() == repository.commits[commit][name]
        assert manifest.arrival.digests[name] == manifest.files[name].sha256
    assert load_tokenizer(tmp_path / "model")("a")["input_ids"][0] == 1


def test_the_server_lists_files_as_the_hub_does(hub: HubServer) -> None:
    files = commit_of(hub, OPT)
    listed = HfApi(endpoint=hub.endpoint).list_repo_tree(OPT["repo"], revision=OPT["revision"])
    assert {file.path: file.size for file in listed if isinstance(file, RepoFile)} == {
        path: len(data) for path, data in files.items()
    }


def test_what_is_in_the_cache_is_not_downloaded_again(tmp_path: Path, hub: HubServer) -> None:
    fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "model" / "asset.json")
    before = hub.downloads()
    assert before
    fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "again" / "asset.json")
    assert hub.downloads() == before
    assert load_manifest(tmp_path / "again/asset.json").digest == load_manifest(tmp_path / "model/asset.json").digest


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path, hub: HubServer, no_waiting: None) -> None:
    name = "model-00002-of-00003.safetensors"
    hub.faults.cut[name] = 2
    fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    ranges = [of for method, path, of in hub.requests if path.endswith(name) and method == "GET"]
    size = (tmp_path / "model" / name).stat().st_size
    whole, *starts = ranges
    first, second = (int(start.removeprefix("bytes=").removesuffix("-")) for start in filter(None, starts))
    assert whole is None and 0 < first < second < size
    assert (tmp_path / "model" / name).read_bytes() == commit_of(hub, LLAMA)[name]


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_a_download_that_never_ends_well_leaves_nothing_half_and_keeps_what_is_whole(
    tmp_path: Path, hub: HubServer, cache: Path, no_waiting: None, fault: str
) -> None:
    name = "model-00002-of-00003.safetensors"
    if fault == "cut":
        hub.faults.cut[name] = 1000
    else:
        hub.faults.short.add(name)
    with pytest.raises(PrunebenchError, match=r"(?s)huggyllama/llama-7b broke off .*arrived are kept: run again"):
        fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    assert entries(tmp_path / "model") == set()
    assert not arrival_path(tmp_path / "model").exists()
    assert half_files(cache) == []
    hub.faults, before = Faults(), hub.downloads()
    fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    fetched = {path.rpartition("/")[2] for path in hub.downloads()[len(before) :]}
    assert fetched == {name, "model-00003-of-00003.safetensors"}


@pytest.mark.parametrize("name", ["model-00002-of-00003.safetensors", "config.json"])
def test_other_content_of_the_same_size_is_noticed(tmp_path: Path, hub: HubServer, name: str) -> None:
    content = commit_of(hub, LLAMA)[name]
    hub.faults.other[name] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(
        PrunebenchError, match=f"{name} from huggyllama/llama-7b is not the file .*\n.*{etag(name, content)}"
    ):
        fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    assert entries(tmp_path / "model") == set()
    hub.faults = Faults()
    fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    assert (tmp_path / "model" / name).read_bytes() == content


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (
            None,
            r"is gated: accept its conditions on {hub}/{repo}, make a token on {hub}/settings/tokens, and set HF_TOKEN",
        ),
        (OTHER_TOKEN, r"is gated: accept its conditions on {hub}/{repo} with the account of your token"),
    ],
)
def test_a_gated_model(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None, message: str
) -> None:
    hub.connect(monkeypatch, tmp_path / "cache", token)
    expected = message.format(hub=hub.endpoint, repo=GATED["repo"])
    with pytest.raises(PrunebenchError, match=expected):
        fetch_model(model_spec(GATED), asset=tmp_path / "model" / "asset.json")
    assert re.search(expected, assets.check_access(source(GATED)) or "")
    assert hub.downloads() == []
    hub.connect(monkeypatch, tmp_path / "cache", TOKEN)
    assert assets.check_access(source(GATED)) is None
    fetch_model(model_spec(GATED), asset=tmp_path / "model" / "asset.json")


@pytest.mark.parametrize(
    ("changes", "token", "message"),
    [
        ({"repo": "facebook/opt-125"}, None, "has no model facebook/opt-125, or it is private.*set HF_TOKEN"),
        (
            {"repo": "facebook/opt-125"},
            TOKEN,
            "has no model facebook/opt-125, or it is private: correct 'repo' in the catalog, or the id$",
        ),
        ({"revision": "refs/pr/9"}, None, "facebook/opt-125m has no revision refs/pr/9: correct 'revision'"),
        ({"revision": "0" * 40}, None, "facebook/opt-125m has no revision 0000"),
        (
            {"revision": "main"},
            None,
            r"no model.safetensors and no model.safetensors.index.json at main \(it has: pytorch_model.bin\): .*"
            "refs/pr/N.*'weights: pytorch'",
        ),
        ({"weights": "pytorch"}, None, r"has no pytorch_model.bin .*\(it has: model.safetensors\)"),
    ],
)
def test_what_is_not_there(
    tmp_path: Path,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    token: str | None,
    message: str,
) -> None:
    hub.connect(monkeypatch, tmp_path / "cache", token)
    wanted = OPT | changes
    with pytest.raises(PrunebenchError, match=message):
        fetch_model(model_spec(wanted, family="opt"), asset=tmp_path / "model" / "asset.json")
    assert re.search(message, assets.check_access(source(wanted)) or "")
    assert hub.downloads() == []
    assert entries(tmp_path / "model") == set()


@pytest.mark.parametrize(
    ("repo", "family", "kind", "reader"),
    [
        (LLAMA["repo"], "opt", "llama", "llama"),
        (LLAMA["repo"], "llava", "llama", "llama"),
        ("llava-hf/llava-1.5-7b-hf", "llama", "llava", "llava"),
        ("llava-hf/llava-1.5-7b-hf", "qwen_vl", "llava", "llava"),
    ],
)
def test_a_model_of_another_family_is_refused_before_its_weights_are_fetched(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, repo: str, family: str, kind: str, reader: str
) -> None:
    hub.connect(monkeypatch, tmp_path / "cache")
    message = f"{repo} is a '{kind}' model, which family '{family}' does not read, but '{reader}' does: write 'family"
    with pytest.raises(PrunebenchError, match=message):
        fetch_model(model_spec({**LLAMA, "repo": repo}, family=family), asset=tmp_path / "model" / "asset.json")
    assert not [path for path in hub.downloads() if path.endswith(".safetensors")]


def test_a_repository_that_is_no_model(hub: HubServer) -> None:
    hub.add("models", "someone/notes", {"README.md": b"# Notes"})
    message = "someone/notes has no config.json at main: it is not a model"
    assert message in (assets.check_access(source({**LLAMA, "repo": "someone/notes"})) or "")


def test_a_missing_file_gives_near_names(tmp_path: Path, hub: HubServer) -> None:
    wrong = {**PTB, "files": {"test": ["penn_treebank/tests/0000.parquet"]}}
    message = (
        "has no file penn_treebank/tests/0000.parquet at refs/convert/parquet: did you mean 'penn_treebank/test/0000"
    )
    with pytest.raises(PrunebenchError, match=message):
        fetch_corpus(corpus_spec(wrong, column="sentence"), asset=tmp_path / "corpus" / "asset.json")
    assert message in (assets.check_access(HubCorpusSource.model_validate(wrong)) or "")
    assert assets.check_access(HubCorpusSource.model_validate(PTB)) is None
    assert hub.downloads() == []


def test_no_network(tmp_path: Path, hub: HubServer, no_waiting: None) -> None:
    hub.stop()
    message = f"cannot reach {hub.endpoint} for facebook/opt-125m .*check the network, proxies and HF_ENDPOINT"
    with pytest.raises(PrunebenchError, match=message):
        fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "model" / "asset.json")
    with pytest.raises(HubUnavailableError, match=message) as raised:
        assets.check_access(source(OPT))
    assert raised.value.anywhere == str(raised.value).replace(" for facebook/opt-125m", "")


def test_what_the_transfer_of_large_files_raises_is_explained(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hf_xet, by which the hub serves them, raises RuntimeError; the server of the tests has plain HTTP only."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("Task error: error sending request")

    monkeypatch.setattr(HfApi, "hf_hub_download", broken)
    with pytest.raises(
        PrunebenchError, match=r"broke off .Task error: error sending request.. Files that have arrived"
    ):
        fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "model" / "asset.json")


def test_the_network_is_forbidden(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        PrunebenchError, match="HF_HUB_OFFLINE is set, so the hub cannot be asked for facebook/opt-125m"
    ):
        fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "model" / "asset.json")
    assert hub.requests == []


def test_the_hub_is_down(tmp_path: Path, hub: HubServer, no_waiting: None) -> None:
    hub.faults.down = True
    with pytest.raises(PrunebenchError, match=r"answers 503 for facebook/opt-125m.*Try again later"):
        fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "model" / "asset.json")


def test_a_branch_that_moved_is_noticed_and_the_old_commit_can_be_kept(tmp_path: Path, hub: HubServer) -> None:
    fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    before = load_manifest(tmp_path / "model/asset.json")
    assert before.arrival
    files = commit_of(hub, LLAMA)
    now = hub.add("models", LLAMA["repo"], {**files, "generation_config.json": b"{}"})
    message = rf"another one than before \(changed: generation_config.json\)\n  before {before.arrival.commit}\n"
    with pytest.raises(PrunebenchError, match=f"{message}  now    {now}\n.*'revision: {before.arrival.commit}'"):
        fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    fetch_model(model_spec({**LLAMA, "revision": before.arrival.commit}), asset=tmp_path / "model" / "asset.json")
    assert load_manifest(tmp_path / "model/asset.json").digest == before.digest
    # From here on the commit is what arrived last, so the branch is news again.
    fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    after = load_manifest(tmp_path / "model/asset.json")
    assert after.arrival and after.arrival.commit == now and after.digest != before.digest


def test_other_content_at_the_same_commit_is_noticed(tmp_path: Path, hub: HubServer) -> None:
    fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    commit_of(hub, LLAMA)["generation_config.json"] = b"{}"
    message = r"has other content than before.*changed: generation_config.json.*delete .*\.model\.hub\.json"
    with pytest.raises(PrunebenchError, match=f"(?s){message}"):
        fetch_model(model_spec(LLAMA), asset=tmp_path / "model" / "asset.json")
    arrival_path(tmp_path / "model").unlink()


def test_weights_in_a_pull_request_or_converted_are_the_same(tmp_path: Path) -> None:
    fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "safe" / "asset.json")
    pickled = {**OPT, "revision": "main", "weights": "pytorch"}
    fetch_model(model_spec(pickled, family="opt"), asset=tmp_path / "converted" / "asset.json")
    assert "model.safetensors" in entries(tmp_path / "converted")
    assert not [name for name in entries(tmp_path / "converted") if name.endswith(".bin")]
    assert_equal_tensors(tmp_path / "converted", tmp_path / "safe")


def test_converted_shards_are_what_transformers_reads(tmp_path: Path) -> None:
    vicuna = {"kind": "hub", "repo": "lmsys/vicuna-7b-v1.5", "revision": "main", "weights": "pytorch"}
    fetch_model(model_spec(vicuna), asset=tmp_path / "model" / "asset.json")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", local_files_only=True)
    stored = {
        name: tensor for file in (tmp_path / "model").glob("*.safetensors") for name, tensor in load_file(file).items()
    }
    assert len(list((tmp_path / "model").glob("model-0000?-of-00003.safetensors"))) == 3
    assert stored.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


@pytest.mark.parametrize("weights", ["safetensors", "pytorch"])
def test_files_that_hold_the_bare_decoder(tmp_path: Path, hub: HubServer, weights: str) -> None:
    """The files of some sizes of OPT hold the bare decoder."""
    files = commit_of(hub, OPT)
    tensors = {name.removeprefix("model."): tensor for name, tensor in load(files["model.safetensors"]).items()}
    bare = {**files, "model.safetensors": save(tensors, metadata={"format": "pt"})}
    hub.add("models", "someone/opt", bare if weights == "safetensors" else hub_repositories.pickled(bare))
    wanted = {**OPT, "repo": "someone/opt", "revision": "main", "weights": weights}
    fetch_model(model_spec(wanted, family="opt"), asset=tmp_path / "bare" / "asset.json")
    fetch_model(model_spec(OPT, family="opt"), asset=tmp_path / "whole" / "asset.json")
    ours, theirs = TensorStore(tmp_path / "bare"), TensorStore(tmp_path / "whole")
    assert set(ours) == set(theirs) and all(name.startswith("model.decoder.") for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    sizes = [linear_sizes(tmp_path / name, family("models", "opt")) for name in ("bare", "whole")]
    assert sizes[0] == sizes[1] and len(sizes[0]) == 12


@pytest.mark.parametrize("content", ["code", "object", "half"])
def test_pickles_of_anything_but_tensors_are_refused(tmp_path: Path, hub: HubServer, content: str) -> None:
    trace = tmp_path / "executed"
    buffer = io.BytesIO()
    torch.save(
        {"code": {"w": Exploit(trace)}, "object": {"w": "no tensor"}, "half": {"w": torch.ones(1000)}}[content], buffer
    )
    data = buffer.getvalue()[: 1000 if content == "half" else None]
    files = commit_of(hub, {**OPT, "revision": "main"})
    hub.add("models", "someone/opt", {**files, "pytorch_model.bin": data})
    wanted = {**OPT, "repo": "someone/opt", "revision": "main", "weights": "pytorch"}
    with pytest.raises(PrunebenchError, match=r"(cannot be read as plain tensors|holds more than tensors)"):
        fetch_model(model_spec(wanted, family="opt"), asset=tmp_path / "model" / "asset.json")
    assert not trace.exists()
    assert entries(tmp_path / "model") == set()


def test_a_model_of_an_unknown_kind_is_refused_before_its_weights_arrive(tmp_path: Path, hub: HubServer) -> None:
    config = json.dumps({"model_type": "idefics3"}).encode()
    hub.add("models", "someone/idefics", {"config.json": config, "model.safetensors": b"weights"})
    with pytest.raises(PrunebenchError, match=r"someone/idefics is a model of type 'idefics3', which is not known"):
        fetch_model(
            model_spec({**LLAMA, "repo": "someone/idefics", "revision": "main"}),
            asset=tmp_path / "model" / "asset.json",
        )
    assert any(path.endswith("config.json") for path in hub.downloads())
    assert not any(path.endswith(".safetensors") for path in hub.downloads())


def test_sizes_that_the_config_of_llava_leaves_out(tmp_path: Path) -> None:
    text = {"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "vocab_size": 32064}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": text}))
    sizes = {"blocks": 32, "hidden": 4096, "ffn": 11008, "attention": 4096, "key_value": 4096, "vocabulary": 32064}
    assert read_shape(tmp_path / "config.json").model_dump() == sizes


def test_own_splits_are_the_rows_as_they_are(tmp_path: Path) -> None:
    config, _ = with_catalogs({"studies": {"none": {"suites": ["ppl"], "grid": [{}]}}})
    rows = {"wikitext2": hub_repositories.wikitext_rows, "ptb": hub_repositories.ptb_rows}
    for name, joint in (("wikitext2", "\n\n"), ("ptb", " ")):
        fetch_corpus(Plan({}, "test", config, {}).asset(f"corpora/{name}").spec, asset=tmp_path / name / "asset.json")
        for split, theirs in (("calibration", "train"), ("tuning", "validation"), ("test", "test")):
            assert load_split(tmp_path / name, split) == [joint.join(rows[name](theirs))]
    c4 = config.model_copy(update={"corpora": {"c4": config.corpora["c4"].model_copy(update={"test_documents": 11})}})
    fetch_corpus(Plan({}, "test", c4, {}).asset("corpora/c4").spec, asset=tmp_path / "c4" / "asset.json")
    assert load_split(tmp_path / "c4", "calibration") == hub_repositories.c4_rows("train")
    assert load_split(tmp_path / "c4", "test") == [" ".join(hub_repositories.c4_rows("validation")[:11])]
    manifest = load_manifest(tmp_path / "c4/asset.json")
    assert manifest.test_windows == 256 and manifest.documents == {"calibration": 30, "test": 1}
    assert manifest.arrival and manifest.arrival.commit == hub_repositories.C4
    assert entries(tmp_path / "c4") == {"asset.json", "calibration.jsonl", "test.jsonl"}


@pytest.mark.parametrize(
    ("kind", "keys", "content", "message"),
    [
        (
            "parquet",
            {},
            None,
            r"no column 'text' \(it has: 'sentence'\): name another column \('column', --column\)",
        ),
        (
            "parquet",
            {"column": "sentence"},
            b"PAR1 but no more",
            r"is not a whole parquet file \(",
        ),
        ("jsonl", {}, gzip.compress(b'{"text": "a"}\n', mtime=0)[:-4], r"is a damaged gzip file, or cut short"),
        ("jsonl", {}, b'{"text": 3}\n', r"line 1: key 'text' holds a number, not a string"),
        (
            "jsonl",
            {"column": "body"},
            b'{"text": "a"}\n',
            r"line 1: no key 'body' \(it has: 'text'\): name another key",
        ),
    ],
)
def test_texts_that_cannot_be_read(
    tmp_path: Path, hub: HubServer, kind: str, keys: dict[str, str], content: bytes | None, message: str
) -> None:
    if content is not None:
        hub.add("datasets", PTB["repo"], {PTB["files"]["test"][0]: content}, PTB["revision"])
    with pytest.raises(PrunebenchError, match=message):
        fetch_corpus(corpus_spec(PTB, **{"documents": kind, **keys}), asset=tmp_path / "corpus" / "asset.json")
    assert entries(tmp_path / "corpus") == set()
