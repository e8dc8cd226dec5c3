"""Documents -> stream -> windows -> calibration tokens."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import tiny
from prunebench.assets import tokens
from prunebench.assets.corpora import load_split
from prunebench.assets.gguf import split_digits
from prunebench.assets.manifest import load_manifest
from prunebench.assets.tokens import (
    AT_ONCE,
    Front,
    cut_windows,
    first_windows,
    load_tokenizer,
    token_stream,
    with_front,
)
from prunebench.errors import PrunebenchError
from prunebench.stages.calibrate import calibrate, draw
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.storage.sealed import read_record

DOCUMENTS = [f"document {index} says {index * 7} and then\n\n{index} more words" for index in range(200)]

CONFIG = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 400}


def byte_tokenizer(*, bos: bool = True, added: str | None = "<s> $A", **special: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE that, like llama's, adds <s> unless told not to; `added` is what it makes of a text $A."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["\n\n a b\n\nc\n\n", *DOCUMENTS], trainer)
    if added:
        tokenizer.post_processor = processors.TemplateProcessing(single=added, special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **({"bos_token": "<s>"} if bos else {}), **special)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> tuple[Path, Path]:
    """asset.json of a model and of a corpus, both from local paths."""
    root = tmp_path_factory.mktemp("assets")
    tiny.make_model(root / "local", tokenizer=tokenizer, vocab_size=400)
    (root / "text").write_text("".join(json.dumps({"text": document}) + "\n" for document in DOCUMENTS))
    model = {"title": "tiny", "family": "llama", "source": {"kind": "path", "path": str(root / "local")}}
    corpus = {"title": "text", "documents": "jsonl", "source": {"kind": "path", "path": str(root / "text")}}
    fetch_model(json.dumps({"entry": model}), asset=root / "model" / "asset.json")
    fetch_corpus(json.dumps({"entry": corpus}), asset=root / "corpus" / "asset.json")
    return root / "model/asset.json", root / "corpus/asset.json"


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def test_stream_is_documents_with_blank_lines_between(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = token_stream(tokenizer, ["first one", "second", "third"], bos=False)
    blank = encode(tokenizer, "\n\n")
    expected = [
        *encode(tokenizer, "first one"),
        *blank,
        *encode(tokenizer, "second"),
        *blank,
        *encode(tokenizer, "third"),
    ]
    assert stream.dtype == np.int64
    assert stream.tolist() == expected
    assert tokenizer.decode(stream) == "first one\n\nsecond\n\nthird"


def test_bos_is_at_the_front_only(tokenizer: PreTrainedTokenizerFast) -> None:
    without = token_stream(tokenizer, DOCUMENTS[:5], bos=False)
    assert 0 not in without
    assert token_stream(tokenizer, DOCUMENTS[:5], bos=True).tolist() == [0, *without]


def test_bos_without_such_a_token_is_an_error() -> None:
    with pytest.raises(PrunebenchError, match="no beginning-of-text token"):
        token_stream(byte_tokenizer(bos=False, added=None), ["a"], bos=True)


def test_no_documents_give_an_empty_stream(tokenizer: PreTrainedTokenizerFast) -> None:
    assert token_stream(tokenizer, [], bos=False).shape == (0,)


@pytest.mark.parametrize("front", [False, True, "window"])
def test_no_more_documents_are_tokenised_than_the_first_windows_need(
    front: Front, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = token_stream(tokenizer, DOCUMENTS, bos=front is True)
    room = 16 - (front == "window")
    windows = cut_windows(stream, room)
    every = with_front(windows, tokenizer) if front == "window" else windows
    seen: list[str] = []
    encode_all = tokens.encode
    monkeypatch.setattr(tokens, "encode", lambda which, texts: seen.extend(texts) or encode_all(which, texts))
    # The windows that the first documents fill to the last token but one, and one more.
    full = len(token_stream(tokenizer, DOCUMENTS[:AT_ONCE], bos=front is True)) // room
    for count, documents in ((1, AT_ONCE), (full, AT_ONCE), (full + 1, 2 * AT_ONCE), (None, len(DOCUMENTS))):
        seen.clear()
        first = first_windows(tokenizer, DOCUMENTS, 16, count, "text", front=front)
        assert first.tolist() == every[:count].tolist()
        assert seen[1:] == DOCUMENTS[:documents]
    with pytest.raises(PrunebenchError, match=f"text has {len(stream)} tokens, too few for {len(every) + 1} windows"):
        first_windows(tokenizer, DOCUMENTS, 16, len(every) + 1, "text", front=front)


def test_saved_tokenizer_loads_unchanged(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert load_tokenizer(tmp_path).backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_directory_without_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(PrunebenchError, match=f"cannot load a tokenizer from {tmp_path}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 3}', '{"model": {"type": "BPE"}}', "\0"])
def test_a_damaged_tokenizer_is_one_line(content: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(PrunebenchError, match=f"cannot load a tokenizer from {tmp_path}") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_digits_keep_the_blank_line_before_them_whole() -> None:
    tokenizer = byte_tokenizer()
    text = "ab\n\n27"
    before = tokenizer.tokenize(text)
    split_digits(tokenizer)
    after = tokenizer.tokenize(text)
    assert "ĊĊ" not in before
    assert after[-3:] == ["ĊĊ", "2", "7"]


@given(length=st.integers(0, 60), seqlen=st.integers(1, 20))
def test_windows_tile_the_front_of_the_stream(length: int, seqlen: int) -> None:
    windows = cut_windows(np.arange(length, dtype=np.int64), seqlen)
    assert windows.shape == (length // seqlen, seqlen)
    assert windows.ravel().tolist() == list(range(length // seqlen * seqlen))


def test_draw_takes_different_windows_and_depends_on_the_seed() -> None:
    windows = np.arange(40, dtype=np.int64).reshape(20, 2)
    drawn = draw(windows, 20, seed=1)
    assert sorted(drawn[:, 0].tolist()) == windows[:, 0].tolist()
    assert drawn.tolist() != draw(windows, 20, seed=2).tolist()


def hashes(model: Path, corpus: Path) -> dict[str, str]:
    """The hashes of the specs with which two assets were fetched."""
    return {"model": load_manifest(model).spec_hash, "corpus": load_manifest(corpus).spec_hash}


def test_calibrate_draws_windows_of_the_calibration_split(
    tmp_path: Path, assets: tuple[Path, Path], tokenizer: PreTrainedTokenizerFast
) -> None:
    model, corpus = assets
    spec = json.dumps({**hashes(model, corpus), "samples": 4, "seed": 3, "seqlen": 16})
    calibrate(spec, model, corpus, tmp_path / "tokens.npy", tmp_path / "record.json")
    tokens = np.load(tmp_path / "tokens.npy", allow_pickle=False)
    stream = token_stream(tokenizer, load_split(corpus.parent, "calibration"), bos=False)
    rows = {tuple(row) for row in cut_windows(stream, 16).tolist()}
    assert tokens.shape == (4, 16)
    assert tokens.dtype == np.int64
    assert all(tuple(row) in rows for row in tokens.tolist())
    assert read_record(tmp_path / "record.json") == {
        "spec_hash": hashlib.sha256(spec.encode()).hexdigest()[:16],
        "sha256": hashlib.sha256((tmp_path / "tokens.npy").read_bytes()).hexdigest(),
        "bos": False,
        "samples": 4,
        "seqlen": 16,
        "stream_tokens": len(stream),
        "windows_available": len(stream) // 16,
    }


def test_calibrate_is_reproducible_and_seeded(tmp_path: Path, assets: tuple[Path, Path]) -> None:
    def run(name: str, seed: int, bos: bool = False) -> bytes:
        spec = json.dumps({**hashes(*assets), "samples": 4, "seqlen": 16, "seed": seed, "bos": bos})
        calibrate(spec, *assets, tmp_path / name, tmp_path / "record.json")
        return (tmp_path / name).read_bytes()

    assert run("a.npy", 0) == run("b.npy", 0)
    assert run("a.npy", 0) != run("b.npy", 1)
    assert run("a.npy", 0) != run("b.npy", 0, bos=True)
