"""Text of one's own: whatever the file is, it is read as documented, or one line says which line of it cannot be."""

import bz2
import gzip
import io
import json
import lzma
import math
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

import prunebench
import tiny
from prunebench.assets.corpora import SPLITS, load_split
from prunebench.assets.manifest import load_manifest
from prunebench.assets.texts import own_documents
from prunebench.assets.tokens import adds_bos, front_of, in_words, load_ids
from prunebench.cli import app
from prunebench.errors import PrunebenchError
from prunebench.plan import paths
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, load_plan
from prunebench.stages.calibrate import calibrate
from prunebench.stages.fetch_corpus import fetch_corpus
from prunebench.stages.fetch_model import fetch_model
from prunebench.suites.perplexity import Perplexity

ROOT = Path(__file__).parents[2]
COMPUTE = ["--batch-size", "2", "--threads", "1", "--dtype", "float32"]

Files = dict[str, bytes]


def table(**columns: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def arrow(writer: Any) -> bytes:
    sink = io.BytesIO()
    rows = pa.table({"text": ["one"]})
    with writer(sink, rows.schema) as stream:
        stream.write_table(rows)
    return sink.getvalue()


def saved(array: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, **options)
    return sink.getvalue()


def zipped(**arrays: Any) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


LINES = b'{"text": "one"}\n{"text": "two"}\n'
PACKED = gzip.compress(LINES)
ROWS = table(text=["one", "two"], id=[1, 2])
# What a file, or a directory of several, gives: its documents.
READ: list[tuple[str, Files, str | None, list[str]]] = [
    ("plain", {"a.txt": b"one\n\ntwo\n"}, None, ["one\n\ntwo\n"]),
    ("upper-case suffix", {"A.TXT": b"one"}, None, ["one"]),
    ("byte order mark", {"a.txt": b"\xef\xbb\xbfone"}, None, ["one"]),
    ("carriage returns", {"a.txt": b"one\r\ntwo\rthree"}, None, ["one\ntwo\nthree"]),
    ("white space around it", {"a.txt": b"  one \n"}, None, ["  one \n"]),
    ("no suffix", {"notes": b"one"}, None, ["one"]),
    ("another suffix", {"wiki.train.raw": b" \n = One = \n"}, None, [" \n = One = \n"]),
    ("no line end, many scripts", {"a.txt": "été 雪 😀".encode()}, None, ["été 雪 😀"]),
    ("form feed and line separator", {"a.txt": "a\fb\u2028c".encode()}, None, ["a\fb\u2028c"]),
    ("gzipped", {"a.txt.gz": gzip.compress(b"one")}, None, ["one"]),
    ("gzipped, not said so", {"a.txt": gzip.compress(b"one")}, None, ["one"]),
    ("JSON lines", {"a.jsonl": LINES}, None, ["one", "two"]),
    ("JSON lines as .json", {"a.json": LINES}, None, ["one", "two"]),
    ("JSON lines with a mark", {"a.jsonl": b"\xef\xbb\xbf" + LINES}, None, ["one", "two"]),
    ("JSON lines, CRLF", {"a.jsonl": LINES.replace(b"\n", b"\r\n")}, None, ["one", "two"]),
    ("JSON lines, blank ones", {"a.jsonl": b"\n" + LINES + b"  \n\n"}, None, ["one", "two"]),
    ("JSON lines, empty texts", {"a.jsonl": b'{"text": ""}\n{"text": " one "}'}, None, ["one"]),
    ("JSON lines, own key", {"a.jsonl": b'{"body": "one", "text": 3}'}, "body", ["one"]),
    ("JSON lines, lone surrogate", {"a.jsonl": b'{"text": "a\\ud800b"}'}, None, ["a\ufffdb"]),
    ("JSON lines, pair of surrogates", {"a.jsonl": b'{"text": "\\ud83d\\ude00"}'}, None, ["😀"]),
    ("JSON lines, zero character", {"a.jsonl": b'{"text": "a\\u0000b"}'}, None, ["a\0b"]),
    ("JSON lines, gzipped", {"a.jsonl.gz": PACKED}, None, ["one", "two"]),
    ("JSON lines, .json.gz", {"a.json.gz": PACKED}, None, ["one", "two"]),
    ("JSON lines, .gz but plain", {"a.jsonl.gz": LINES}, None, ["one", "two"]),
    ("parquet", {"a.parquet": ROWS}, None, ["one", "two"]),
    ("parquet, own column", {"a.parquet": table(sentence=["one", " ", "two "])}, "sentence", ["one", "two"]),
    ("parquet, gzipped", {"a.parquet.gz": gzip.compress(ROWS)}, None, ["one", "two"]),
    (
        "directory of Hugging Face data",
        {"a.jsonl": LINES, "dataset_info.json": b'{"features": {}}', "state.json": b"{}", "b.json.gz": PACKED},
        None,
        ["one", "two"],
    ),
    ("parquet, large strings", {"a.parquet": table(text=pa.array(["one"], pa.large_string()))}, None, ["one"]),
    ("parquet, dictionary", {"a.parquet": table(text=pa.array(["one"] * 2).dictionary_encode())}, None, ["one"] * 2),
    (
        "directory of all kinds, sorted",
        {"b.txt": b"three", "a.jsonl": LINES, "c.parquet": ROWS, "README.md": b"no", ".hidden.txt": b"no"},
        None,
        ["one", "two", "three", "one", "two"],
    ),
    ("directory with an empty file", {"a.txt": b"", "b.txt": b"one"}, None, ["one"]),
]
# What cannot be read, and what its one line says: the file, the line, and what to do.
REFUSED: list[tuple[str, Files, str | None, str]] = [
    ("empty", {"a.txt": b""}, None, "a.txt holds no text"),
    ("blank", {"a.txt": b" \n\n"}, None, "a.txt holds no text"),
    ("Latin-1", {"a.txt": b"one\ncaf\xe9"}, None, "a.txt, line 2: not UTF-8 text (byte 0xe9, unexpected end of data)"),
    ("surrogates in UTF-8", {"a.txt": b"a\n\n\xed\xa0\x80"}, None, "a.txt, line 3: not UTF-8 text (byte 0xed"),
    ("after a mark", {"a.txt": b"\xef\xbb\xbfa\r\nb\rc\xff"}, None, "a.txt, line 3: not UTF-8 text (byte 0xff"),
    ("UTF-16", {"a.txt": "one".encode("utf-16")}, None, "a.txt is UTF-16 text: save it as UTF-8"),
    ("UTF-32", {"a.txt": "one".encode("utf-32")}, None, "a.txt is UTF-32 text: save it as UTF-8"),
    ("UTF-32, big-endian", {"a.txt": b"\0\0\xfe\xff\0\0\0a"}, None, "a.txt is UTF-32 text: save it as UTF-8"),
    ("Arrow file", {"a.arrow": arrow(pa.ipc.new_file)}, None, "a.arrow is an Arrow file, as datasets saves it: write"),
    ("Arrow stream", {"a.arrow": arrow(pa.ipc.new_stream)}, None, "a.arrow is an Arrow file, as datasets saves it"),
    ("zstd", {"a.jsonl.zst": b"\x28\xb5\x2f\xfd\x24\0"}, None, "a.jsonl.zst is packed by zstd: unpack it"),
    ("bzip2", {"a.txt.bz2": bz2.compress(LINES)}, None, "a.txt.bz2 is packed by bzip2: unpack it"),
    ("xz", {"a.jsonl": lzma.compress(LINES)}, None, "a.jsonl is packed by xz: unpack it, or pack it by gzip"),
    ("gzip in gzip", {"a.jsonl.gz": gzip.compress(PACKED)}, None, "a.jsonl.gz is packed by gzip twice: unpack it"),
    ("parquet, gzip cut short", {"a.parquet.gz": gzip.compress(ROWS)[:-9]}, None, "is a damaged gzip file, or cut"),
    ("parquet, text gzipped", {"a.parquet.gz": PACKED}, None, "a.parquet.gz is not a whole parquet file"),
    ("directory of .json", {"a.json": LINES, "b.json": LINES}, None, "holds no text (.txt, .jsonl, .parquet, and .gz"),
    ("UTF-16 without a mark", {"a.txt": "o\nne".encode("utf-16-le")}, None, "a.txt, line 1: a zero byte"),
    ("binary", {"a.txt": b"ELF\n\0\1"}, None, "a.txt, line 2: a zero byte"),
    ("parquet as .txt", {"a.txt": ROWS}, None, "a.txt is a parquet file: let its name end in .parquet"),
    ("parquet as .jsonl", {"a.jsonl": ROWS}, None, "a.jsonl is a parquet file"),
    ("PDF", {"a.pdf": b"%PDF-1.7\n"}, None, "a.pdf is a PDF: extract its text first"),
    (
        "ids as .txt",
        {"a.txt": saved(np.ones((2, 2), np.int64))},
        None,
        "a.txt is an array of numpy: token ids go by",
    ),
    ("npz", {"a.npz": zipped(a=np.ones(2))}, None, "a.npz is a zip archive (such as .npz): token ids are read from"),
    ("gzip, cut short", {"a.jsonl.gz": PACKED[:-9]}, None, "a.jsonl.gz is a damaged gzip file, or cut short"),
    ("gzip, damaged", {"a.txt.gz": PACKED[:12] + b"\xff" * 9}, None, "a.txt.gz is a damaged gzip file"),
    ("gzip, head only", {"a.txt.gz": b"\x1f\x8b"}, None, "a.txt.gz is a damaged gzip file"),
    (
        "text as .jsonl",
        {"a.jsonl": b"one\n"},
        None,
        "a.jsonl, line 1: expected a JSON object with the key 'text' on one",
    ),
    ("cut line", {"a.jsonl": LINES + b'\n{"text": "b"'}, None, "a.jsonl, line 4: expected a JSON object"),
    (
        "missing key",
        {"a.jsonl": LINES + b'{"body": "b", "id": 1}'},
        None,
        "3: no key 'text' (it has: 'body', 'id')",
    ),
    ("missing own key", {"a.jsonl": LINES}, "body", "line 1: no key 'body' (it has: 'text'): name another key"),
    ("null", {"a.jsonl": LINES + b'{"text": null}'}, None, "a.jsonl, line 3: key 'text' holds null, not a string"),
    ("number", {"a.jsonl.gz": gzip.compress(b'{"text": 3}')}, None, "line 1: key 'text' holds a number, not a string"),
    ("messages", {"a.jsonl": b'{"text": [{"role": "user"}]}'}, None, "line 1: key 'text' holds a list, not a string"),
    ("JSON array", {"a.json": b'[{"text": "a"},\n{"text": "b"}]'}, None, "a.json, line 1: expected a JSON object"),
    (
        "JSON array in a line",
        {"a.json": b'[{"text": "a"}]'},
        None,
        "line 1: expected a JSON object with the key",
    ),
    ("nested too deep", {"a.jsonl": b"[" * 100_000}, None, "a.jsonl, line 1: expected a JSON object"),
    ("number too long", {"a.jsonl": b"1" * 5000}, None, "a.jsonl, line 1: expected a JSON object"),
    ("Latin-1 in JSON", {"a.jsonl": LINES + b'{"text": "\xe9"}'}, None, "a.jsonl, line 3: not UTF-8 text (byte 0xe9"),
    ("empty JSON lines", {"a.jsonl": b""}, None, "a.jsonl holds no text"),
    ("column of plain text", {"a.txt": b"one"}, "body", "a.txt is plain text, which has no column 'body'"),
    ("parquet, no column", {"a.parquet": table(body=["a"])}, None, "a.parquet: no column 'text' (it has: 'body')"),
    ("parquet, numbers", {"a.parquet": table(text=[1, 2])}, None, "column 'text' holds int64, not text: name another"),
    ("parquet, bytes", {"a.parquet": table(text=[b"a"])}, None, "a.parquet: column 'text' holds binary, not text"),
    ("parquet, lists", {"a.parquet": table(text=[["a"]])}, None, "a.parquet: column 'text' holds list<"),
    ("parquet, null", {"a.parquet": table(text=["a", None])}, None, "a.parquet, row 2: column 'text' holds null"),
    ("parquet, no rows", {"a.parquet": table(text=pa.array([], pa.string()))}, None, "a.parquet holds no text"),
    ("parquet, cut short", {"a.parquet": ROWS[:-20]}, None, "a.parquet is not a whole parquet file ("),
    ("parquet, in its middle", {"a.parquet": ROWS[:4] + b"\xff" * 40 + ROWS[44:]}, None, "is not a whole parquet file"),
    ("parquet, empty", {"a.parquet": b""}, None, "a.parquet is not a whole parquet file"),
    ("text as .parquet", {"a.parquet": b"one"}, None, "a.parquet is not a whole parquet file"),
    (
        "directory without text",
        {"a.png": b"\x89PNG", "b.npy": b""},
        None,
        "holds no text (.txt, .jsonl, .parquet",
    ),
    ("empty directory", {}, None, "holds no text (.txt"),
    ("directory, one damaged", {"a.txt": b"a", "b.jsonl": b"{"}, None, "b.jsonl, line 1: expected a JSON object"),
]


def place(root: Path, files: Files) -> Path:
    """The only file, or the directory of all."""
    folder = root / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / next(iter(files)) if len(files) == 1 else folder


def corpus(path: Path, column: str | None, **keys: Any) -> str:
    entry = {"title": "Own", "source": {"kind": "path", "path": str(path)}, "documents": "auto", **keys}
    return json.dumps({"entry": entry if column is None else entry | {"column": column}})


def run(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: Any) -> str:
    """The one line of a command that ends with exit code 1 and no traceback."""
    result = run(*words)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.splitlines()[-1:] == lines, result.stderr
    return lines[0]


@pytest.mark.parametrize(("files", "column", "expected"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_what_is_read(files: Files, column: str | None, expected: list[str], tmp_path: Path) -> None:
    path = place(tmp_path, files)
    assert own_documents(path, column) == expected
    fetch_corpus(corpus(path, column, use="calibration"), asset=tmp_path / "corpus" / "asset.json")
    assert load_split(tmp_path / "corpus", "calibration") == expected
    assert load_manifest(tmp_path / "corpus/asset.json").documents == {"calibration": len(expected)}


@pytest.mark.parametrize(("files", "column", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_in_one_line(files: Files, column: str | None, message: str, tmp_path: Path) -> None:
    path = place(tmp_path, files)
    with pytest.raises(PrunebenchError) as error:
        own_documents(path, column)
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(PrunebenchError) as same:
        fetch_corpus(corpus(path, column), asset=tmp_path / "corpus" / "asset.json")
    assert str(same.value) == str(error.value)
    assert not (tmp_path / "corpus/asset.json").exists()
    named = [] if column is None else ["--column", column]
    # Said before the model is looked at: there is none.
    said = str(error.value).replace("('column', --column)", "(--column)")
    assert refused("ppl", tmp_path / "none", "--text", path, *named) == f"error: {said}"


def test_the_table_is_as_long_as_was_asked_for() -> None:
    assert len({row[0] for row in (*READ, *REFUSED)}) == len(READ) + len(REFUSED) >= 40


def test_what_the_system_does_not_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such file or directory: " in refused("ppl", "none", "--text", tmp_path / "a.txt")
    os.mkfifo(tmp_path / "pipe")
    assert "is neither a file nor a directory" in refused("ppl", "none", "--text", tmp_path / "pipe")
    for name in ("a.txt", "a.jsonl", "a.parquet", "a.npy"):
        (tmp_path / name).write_bytes(b"one")
        monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "not allowed")))
        option = "--tokens" if name == "a.npy" else "--text"
        assert f"{name} cannot be read: not allowed" in refused("ppl", "none", option, tmp_path / name)
        monkeypatch.undo()


IDS: list[tuple[str, bytes, str]] = [
    ("int32", saved(np.ones((2, 2), np.int32)), "holds int32 [2, 2], not int64 [samples, seqlen]: convert token ids"),
    ("floats", saved(np.ones((2, 2))), "holds float64 [2, 2], not int64"),
    ("big-endian", saved(np.ones((2, 2), ">i8")), "holds >i8 [2, 2], not int64"),
    ("truth values", saved(np.ones((2, 2), bool)), "holds bool [2, 2], not int64"),
    ("one axis", saved(np.ones(4, np.int64)), "holds int64 [4], not int64 [samples, seqlen]"),
    ("no rows", saved(np.ones((0, 4), np.int64)), "holds int64 [0, 4], not int64"),
    ("fields", saved(np.zeros((2, 2), [("a", "i8")])), "not int64 [samples, seqlen]"),
    (
        "objects",
        saved(np.array([[1, None]], object), allow_pickle=True),
        "is not a token file (.npy), or it is damaged",
    ),
    ("a pickle", pickle.dumps([[1, 2]]), "is not a token file (.npy)"),
    ("an npz", zipped(a=np.ones((2, 2), np.int64)), "is not a token file (.npy)"),
    ("text", b"one two three", "is not a token file (.npy)"),
    ("nothing", b"", "is not a token file (.npy)"),
    ("cut short", saved(np.ones((9, 9), np.int64))[:-8], "is not a token file (.npy), or it is damaged"),
    ("a damaged head", saved(np.ones((9, 9), np.int64)).replace(b"descr", b"decsr"), "or it is damaged"),
    ("another size", saved(np.ones((9, 9), np.int64)).replace(b"(9, 9)", b"(9**9)"), "or it is damaged"),
]


@pytest.mark.parametrize(("content", "message"), [row[1:] for row in IDS], ids=[row[0] for row in IDS])
def test_token_ids_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ids.npy"
    path.write_bytes(content)
    directory = tiny.make_model(tmp_path / "model", blocks=1)
    said = refused("prune", directory, "--out", tmp_path / "out", "--sparsity", "0.5", "--calibration", path)
    assert str(path) in said and message in said and "allow_pickle" not in said
    assert refused("ppl", tmp_path / "none", "--tokens", path) == said
    with pytest.raises(PrunebenchError) as error:
        prunebench.perplexity(directory, path)
    assert f"error: {error.value}" == said


MAGIC = [
    *(b"", b"\xef\xbb\xbf", b"\x1f\x8b", b"\x1f\x8b\x08\0", b"PAR1", b"PK\x03\x04", b'{"text": ', b"[["),
    *(b"\x93NUMPY\x01\0", b"\x93NUMPY\x02\0\x10\0\0\0{'descr': ", saved(np.ones((2, 2), np.int64))[:100]),
    *(PACKED[:20], ROWS[:-30]),
]


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    head=st.sampled_from(MAGIC),
    tail=st.binary(max_size=200) | st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass")),
    end=st.sampled_from([b"", b"PAR1", ROWS[-12:], b"}\n"]),
    suffix=st.sampled_from([".txt", ".jsonl", ".json.gz", ".npy", ".parquet", ""]),
)
@example(head=b"", tail=b"\xff", end=b"", suffix=".txt")
def test_any_bytes_are_read_or_refused(head: bytes, tail: bytes, end: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(head + tail + end)
    try:
        if suffix == ".npy":
            assert load_ids(path).dtype == np.int64
        else:
            documents = own_documents(path)
            assert documents and all(document.strip() for document in documents)
            "".join(documents).encode()  # which a lone surrogate would prevent
    except PrunebenchError as error:
        assert str(path) in str(error) and "\n" not in str(error)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]))), ensure_ascii=st.booleans())
def test_any_texts_survive_json_lines(texts: list[str], ensure_ascii: bool, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": text}, ensure_ascii=ensure_ascii) + "\n" for text in texts)
    path = tmp_path / "a.jsonl"
    path.write_text(lines, encoding="utf-8")
    expected = [text.strip() for text in texts if text.strip()]
    if expected:
        assert own_documents(path) == expected


def test_how_a_study_names_the_cutting(tmp_path: Path) -> None:
    """`documents` says how a .txt is cut; auto takes it whole, and other files by their suffixes."""
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n\nc")
    for kind, count in {"auto": 1, "whole": 1, "lines": 3, "blank_lines": 2}.items():
        fetch_corpus(corpus(path, None, documents=kind, use="training"), asset=tmp_path / kind / "asset.json")
        assert load_manifest(tmp_path / kind / "asset.json").documents == {"training": count}
    (tmp_path / "b.parquet").write_bytes(table(body=["a", "b"]))
    fetch_corpus(
        corpus(tmp_path / "b.parquet", "body", documents="parquet", use="training"),
        asset=tmp_path / "rows" / "asset.json",
    )
    assert load_split(tmp_path / "rows", "training") == ["a", "b"]


# Beginning of text


def tokenizer(added: str | None, bos: str | None = "<s>", **special: Any) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that makes `added` of a text $A, with `bos` declared as its beginning-of-text token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(tiny.make_text(50), trainer)
    if added:
        tokens = [("<s>", 1), ("</s>", 2)]
        bpe.post_processor = processors.TemplateProcessing(single=added, special_tokens=tokens)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=bos, pad_token="<pad>", **special)


@pytest.mark.parametrize(
    ("added", "bos", "special", "expected"),
    [
        ("<s> $A", "<s>", {}, True),
        ("<s> $A </s>", "<s>", {"eos_token": "</s>"}, True),
        ("<s> $A", None, {}, True),  # declared nowhere, and added all the same
        (None, "<s>", {}, False),
        (None, "<s>", {"add_bos_token": True}, True),
        ("<s> $A", "<s>", {"add_bos_token": False}, False),
        (None, None, {"add_bos_token": True}, False),  # said, and cannot be done
        (None, None, {}, False),
        ("$A </s>", "<s>", {"eos_token": "</s>"}, False),
        ("$A </s>", "</s>", {"eos_token": "</s>"}, False),  # one token for both ends, added at the other one
        ("$A </s>", None, {"eos_token": "</s>"}, False),
        ("</s> $A", "</s>", {"eos_token": "</s>"}, True),  # as OPT's
    ],
)
def test_what_a_tokenizer_adds_is_seen_by_encoding(
    added: str | None, bos: str | None, special: dict[str, Any], expected: bool
) -> None:
    made = tokenizer(added, bos, **special)
    assert adds_bos(made) == expected
    assert front_of(made, "auto") == ("window" if expected else False)
    assert front_of(made, False) is False
    if bos is None and not expected:
        with pytest.raises(PrunebenchError, match="the tokenizer has no beginning-of-text token"):
            front_of(made, "window")
    else:
        assert front_of(made, "window") == "window" and front_of(made, True) is True


def in_front(added: str, bos: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer that makes `added`, with the tokens <x> and <y> too, of a text."""
    made = tokenizer(None, bos, additional_special_tokens=["<x>", "<y>"])
    ids = [(token, made.convert_tokens_to_ids(token)) for token in ("<s>", "</s>", "<x>", "<y>")]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single=added, special_tokens=ids)
    return made


@pytest.mark.parametrize(
    ("added", "bos", "said"),
    [
        ("<s> $A", "<s>", "a BOS token in front of each window, as the tokenizer puts one"),
        ("<s> $A </s>", None, "a BOS token in front of each window, as the tokenizer puts one"),
        ("$A </s>", "<s>", "no BOS token, as the tokenizer puts none"),
        ("<s> <x> $A", "<s>", "a BOS token in front of each window, where the tokenizer puts <s> <x> before a text"),
        ("<x> <s> $A", "<s>", "no BOS token, where the tokenizer puts <x> <s> before a text"),
        ("<x> $A", "<s>", "no BOS token, where the tokenizer puts <x> before a text"),
        ("<x> <y> $A </s>", None, "no BOS token, where the tokenizer puts <x> <y> before a text"),  # as GLM's
    ],
)
def test_what_stands_in_front_of_a_text_is_said(added: str, bos: str | None, said: str) -> None:
    made = in_front(added, bos)
    assert in_words(front_of(made, "auto"), "auto", made) == said


@pytest.mark.parametrize("by", ["pack", "documents"])
def test_a_tokenizer_that_cannot_encode(by: str, tmp_path: Path) -> None:
    """The tokenizer loads, because tokenizer.json is well-formed. The class that runs it is named elsewhere."""
    directory = tiny.make_model(tmp_path / "model", tokenizer=tokenizer(None), vocab_size=300)
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<unk>"}
    path.write_text(json.dumps(content))
    (tmp_path / "my.txt").write_text("\n\n".join(tiny.make_text(40)))
    message = "cannot encode text (Exception: WordLevel error: Missing [UNK] token from the vocabulary)"
    said = refused("ppl", directory, "--text", tmp_path / "my.txt", "--seqlen", 16)
    assert message in said and str(directory) in said
    keys: dict[str, Any] = {"documents": "blank_lines"} if by == "pack" else {"calibration": "documents"}
    with pytest.raises(PrunebenchError, match="cannot encode text"):
        drawn(study(tmp_path, tiny.make_text(60), model=directory, **keys), tmp_path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models `begun` (its tokenizer adds BOS), `plain` (adds none) and `none` (has none), and my.txt."""
    root = tmp_path_factory.mktemp("home")
    for name, made in {"begun": tokenizer("<s> $A"), "plain": tokenizer(None), "none": tokenizer(None, None)}.items():
        tiny.make_model(root / name, tokenizer=made, vocab_size=300)
    (root / "my.txt").write_text("\n\n".join(tiny.make_text(40)))
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNEBENCH_CACHE", str(tmp_path / "cache"))


def windows(directory: Path, text: str, seqlen: int, *, bos: bool) -> torch.Tensor:
    """A text as plain transformers cuts it: BOS first in each window, if at all."""
    made = PreTrainedTokenizerFast.from_pretrained(directory)
    ids = made(text, add_special_tokens=False)["input_ids"]
    size = seqlen - bos
    rows = [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]
    return torch.tensor([[1, *row] if bos else row for row in rows])


def plain_perplexity(directory: Path, tokens: torch.Tensor) -> float:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        losses = [float(model(row[None], labels=row[None]).loss) for row in tokens]
    return math.exp(sum(losses) / len(losses))


CHOICES: list[tuple[str, list[str], bool]] = [
    ("begun", [], True),
    ("begun", ["--bos"], True),
    ("begun", ["--no-bos"], False),
    ("plain", [], False),
    ("plain", ["--bos"], True),
    ("plain", ["--no-bos"], False),
    ("none", [], False),
]


@pytest.mark.parametrize(("model", "choice", "bos"), CHOICES)
def test_perplexity_is_that_of_plain_transformers(model: str, choice: list[str], bos: bool, home: Path) -> None:
    text = (home / "my.txt").read_text()
    cut = windows(home / model, text, 16, bos=bos)[:20]
    words = ["ppl", home / model, "--text", home / "my.txt", "--seqlen", 16, "--windows", 20, *choice, *COMPUTE]
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["value"] == pytest.approx(plain_perplexity(home / model, cut), rel=1e-4)
    assert (found["bos"], found["n"]) == (bos, 20)
    said = "a BOS token in front of each window" if bos else "no BOS token"
    assert f"{model}: {said}" in result.stderr
    assert ("as the tokenizer puts" in result.stderr) == (choice == [])
    choose = {"--bos": True, "--no-bos": False}.get("".join(choice))
    options: dict[str, Any] = {"seqlen": 16, "windows": 20, "bos": choose, "dtype": "float32", "threads": 1}
    score = prunebench.perplexity(home / model, [text], batch_size=2, **options)
    assert (score.value, score.details["bos"]) == (found["value"], bos)


def test_compare_says_what_the_windows_begin_with(home: Path) -> None:
    words = ["compare", home / "begun", home / "begun", "--text", home / "my.txt", "--seqlen", 16, "--windows", 4]
    rows = json.loads(run(*words, *COMPUTE, "--json").stdout)
    assert [row["bos"] for row in rows] == [True, True]
    assert rows[0]["perplexity"] == pytest.approx(
        plain_perplexity(home / "begun", windows(home / "begun", (home / "my.txt").read_text(), 16, bos=True)[:4])
    )
    words[2] = home / "plain"
    assert "has another tokenizer" in refused(*words, *COMPUTE)
    assert run(*words, *COMPUTE, "--no-bos").exit_code == 0, "without BOS both cut the text alike"


def test_a_bos_that_the_tokenizer_has_not(home: Path, tmp_path: Path) -> None:
    message = "the tokenizer has no beginning-of-text token: set 'bos: false' (--no-bos)"
    assert message in refused("ppl", home / "none", "--text", home / "my.txt", "--bos")
    words = ["prune", home / "none", "--out", tmp_path / "out", "--sparsity", "0.5", "--method", "wanda", "--bos"]
    assert message in refused(*words, "--calibration", home / "my.txt", "--samples", 4, "--seqlen", 16)
    np.save(tmp_path / "ids.npy", np.ones((2, 4), np.int64))
    assert "--bos: the windows" in refused(*words, "--calibration", tmp_path / "ids.npy")
    assert "--bos: the windows" in refused("ppl", home / "plain", "--tokens", tmp_path / "ids.npy", "--no-bos")


@pytest.mark.parametrize(("model", "choice", "bos"), [CHOICES[0], CHOICES[2], CHOICES[3], CHOICES[4]])
def test_calibration_text_is_cut_as_documented(
    model: str, choice: list[str], bos: bool, home: Path, tmp_path: Path
) -> None:
    """The weights are those of the ids that plain transformers makes of the text, by file, list and ids alike."""
    text = (home / "my.txt").read_text()
    cut = windows(home / model, text, 16, bos=bos)
    drawn = cut[random.Random(3).sample(range(len(cut)), 4)]
    np.save(tmp_path / "ids.npy", drawn.numpy())
    words = ["prune", home / model, "--sparsity", "0.5", "--method", "wanda", "--seed", 3, *COMPUTE, "--json"]
    result = run(
        *words, "--out", tmp_path / "text", "--calibration", home / "my.txt", "--samples", 4, "--seqlen", 16, *choice
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["calibration"]["bos"] == ("window" if bos else False)
    given = run(*words, "--out", tmp_path / "ids", "--calibration", tmp_path / "ids.npy")
    assert given.exit_code == 0, given.output
    ids = json.loads(given.stdout)
    assert ids["prune"]["inputs"]["tokens"] == record["prune"]["inputs"]["tokens"]
    assert ids["prune"]["spec_hash"] == record["prune"]["spec_hash"], "what was drawn decides, not where it lay"
    assert "calibration" not in ids
    choose = {"--bos": True, "--no-bos": False}.get("".join(choice))
    options: dict[str, Any] = {"sparsity": 0.5, "method": "wanda", "seed": 3, "samples": 4, "seqlen": 16, "bos": choose}
    options |= {"dtype": "float32", "batch_size": 2, "threads": 1}
    prunebench.prune(home / model, [text], out=tmp_path / "list", **options)
    tensors = load_file(tmp_path / "text/model.safetensors")
    for other in ("ids", "list"):
        same = load_file(tmp_path / other / "model.safetensors")
        assert all(torch.equal(tensors[name], same[name]) for name in tensors)
    card = (tmp_path / "text/README.md").read_text()
    assert "my_txt_4x16" in card
    assert ("a BOS token in front of each window" if bos else "no BOS token") in card
    assert "calibration with" in result.stderr


def test_all_of_a_calibration_text_is_used_and_too_short_says_so(home: Path, tmp_path: Path) -> None:
    text = (home / "my.txt").read_text()
    count = len(windows(home / "plain", text, 16, bos=False))
    words = ["prune", home / "plain", "--sparsity", "0.5", "--method", "wanda", "--calibration", home / "my.txt"]
    words += ["--seqlen", 16, "--out", tmp_path / "out", *COMPUTE]
    assert run(*words, "--samples", count).exit_code == 0
    words += ["--force"]
    said = refused(*words, "--samples", count + 1)
    tokens = len(PreTrainedTokenizerFast.from_pretrained(home / "plain")(text, add_special_tokens=False)["input_ids"])
    assert f"'my.txt' is too short: it has {tokens} tokens for 'plain'" in said
    needed = f"need {16 * (count + 1)}. Lower the number of windows (--samples) to {count}, or "
    assert f"{needed}their length (--seqlen), or give more text" in said
    many = refused(*words, "--samples", tokens)
    assert f"(--samples) to {count}, or give more text" in many, "no window is so short"
    assert (tmp_path / "out/model.safetensors").exists()


def test_a_text_that_the_method_does_not_look_at_changes_nothing(home: Path, tmp_path: Path) -> None:
    """So a script can change the method alone."""
    words = ["prune", home / "plain", "--sparsity", "0.5", "--method", "magnitude", *COMPUTE]
    bare = run(*words, "--out", tmp_path / "bare")
    assert bare.exit_code == 0 and "looks at no text" not in bare.stderr, bare.output
    np.save(tmp_path / "ids.npy", np.ones((2, 4), np.int64))
    given = {
        "text": (["--calibration", home / "my.txt", "--samples", 3, "--bos"], "--calibration, --samples, --bos"),
        "ids": (["--calibration", tmp_path / "ids.npy"], "--calibration"),
        "corpus": (["--corpus", "c4_type"], "--corpus"),
    }
    for name, (more, said) in given.items():
        result = run(*words, *more, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert f"magnitude with uniform looks at no text: ignoring {said}\n" in result.stderr
        for file in ("model.safetensors", "config.json"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "bare" / file).read_bytes()
        hashes = [
            json.loads((tmp_path / out / "prunebench.json").read_text())["prune"]["spec_hash"] for out in (name, "bare")
        ]
        assert hashes[0] == hashes[1]
    words += ["--calibration", tmp_path / "text/my.txt", "--out", tmp_path / "text", "--force"]
    (tmp_path / "text/my.txt").write_text("a text of the user")
    assert "holds the project, or what the model is made from" in refused(*words)


def test_mistakes_with_a_text_of_ones_own(home: Path, tmp_path: Path) -> None:
    words = ["prune", home / "plain", "--out", tmp_path / "out", "--sparsity", "0.5", "--method", "wanda"]
    assert "--column belongs to a text of one's own" in refused(*words, "--column", "body")
    assert "--column belongs" in refused("ppl", home / "plain", "--corpus", "c4_type", "--column", "body")
    assert "--corpus: " in refused(*words, "--calibration", home / "my.txt", "--corpus", "c4_type")
    np.save(tmp_path / "ids.npy", np.ones((2, 4), np.int64))
    words[-1] = "wanda"
    assert "--seqlen: " in refused(*words, "--calibration", tmp_path / "ids.npy", "--seqlen", 4)
    options: dict[str, Any] = {"out": tmp_path / "out", "sparsity": 0.5, "method": "wanda"}
    for text, message in {
        ("a", 3): "text 1 (counted from 0) is a number, not a string",
        ("",): "holds no text",
        ((1, 2), (3,)): "no array",
        ((1.5, 2.5),): "'calibration' holds float64 [1, 2], not int64",
        (): "holds no text: it is empty",
    }.items():
        with pytest.raises(PrunebenchError) as error:
            prunebench.prune(home / "plain", list(text), **options)
        assert message in str(error.value)
    for text in ("a text itself\nof two lines", "and a long one " * 50, "a\0b"):
        with pytest.raises(PrunebenchError, match=r"^no such file or directory: '.*': a text itself .*\[text\]$"):
            prunebench.prune(home / "plain", text, **options)
    with pytest.raises(PrunebenchError, match="give one of them"):
        prunebench.prune(home / "plain", ["a"], tokens=["a"], **options)
    with pytest.raises(PrunebenchError, match="a model in memory has no tokenizer: give token ids"):
        prunebench.prune(AutoModelForCausalLM.from_pretrained(home / "plain"), ["a"], **options)
    with pytest.raises(PrunebenchError, match="give a text or token ids"):
        prunebench.perplexity(home / "plain")
    assert not (tmp_path / "out").exists()


def test_a_text_that_cannot_be_read_is_told_before_the_model_is_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.jsonl").write_text("{")
    from prunebench.standalone import assets

    fetch = assets.run

    def fetch_no_model(job: Job, **given: Any) -> str | None:
        assert job.rule != "fetch_model", "the model was read"
        return fetch(job, **given)

    monkeypatch.setattr(assets, "run", fetch_no_model)
    words = ["prune", home / "plain", "--out", tmp_path / "out", "--sparsity", "0.5", "--method", "wanda"]
    assert "bad.jsonl, line 1" in refused(*words, "--calibration", tmp_path / "bad.jsonl")


# Studies


def study(tmp_path: Path, text: str | list[str], *, bos: Any = False, model: Path, **corpus_keys: Any) -> Plan:
    """A study of one model and one corpus, a file of `text`; both fetched below resources/ of `tmp_path`."""
    path = tmp_path / "own.txt"
    path.write_text(text if isinstance(text, str) else "\n\n".join(text))
    source = {"kind": "path", "path": str(path)}
    row = {"model": "tiny", "method": "wanda", "sparsity": 0.5, "calibration": "own_4x16"}
    plan = load_plan(
        {
            "studies": {"s": {"suites": "ppl", "grid": [row]}},
            "models": {"tiny": {"title": "Tiny", "family": "llama", "source": {"kind": "path", "path": str(model)}}},
            "corpora": {"own": {"title": "Own", "source": source, "documents": "auto", **corpus_keys}},
            "suites": {"ppl": {"suite": "perplexity", "params": {"corpora": ["own"], "seqlen": 16, "bos": bos}}},
        }
    )
    fetch_model(plan.asset("models/tiny").spec, asset=tmp_path / paths.MODEL.format(model="tiny"))
    fetch_corpus(plan.asset("corpora/own").spec, asset=tmp_path / paths.CORPUS.format(corpus="own"))
    return plan


def drawn(plan: Plan, tmp_path: Path) -> np.ndarray:
    (cell,) = plan.cells
    where = [tmp_path / name for name in (paths.MODEL.format(model="tiny"), paths.CORPUS.format(corpus="own"))]
    tokens = tmp_path / "tokens.npy"
    calibrate(
        plan.job("calibrate", model="tiny", calibration=cell.calibration, seed=0).spec,
        *where,
        tokens,
        tmp_path / "tokens.json",
    )
    array: np.ndarray = np.load(tokens)
    return array


def scores(plan: Plan, tmp_path: Path, model: Path) -> Any:
    from prunebench.engine.subject import Subject
    from prunebench.registry import load
    from prunebench.storage.resume import Parts

    suite = Perplexity(Perplexity.Params(**plan.config.suites["ppl"].params))
    subject = Subject(model, load("models", "llama"), None, torch.float32, torch.bfloat16, 2)
    corpus_path = (tmp_path / paths.CORPUS.format(corpus="own")).parent
    return suite.run(subject, {"corpora/own": corpus_path}, Parts(tmp_path / "parts"))


def test_a_corpus_of_one_document_is_cut_by_position(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = " ".join(tiny.make_text(60))
    with caplog.at_level("INFO"):
        plan = study(tmp_path, text, model=home / "plain")
    assert "'own' has 1 document, none for" in caplog.text and "cut by position instead" in caplog.text
    directory = tmp_path / "resources/corpora/own"
    manifest = load_manifest(directory / "asset.json")
    assert manifest.split_by == "position" and manifest.documents == {split: 1 for split in SPLITS}
    parts = [load_split(directory, split)[0] for split in SPLITS]
    assert " ".join(parts) == text
    assert [len(part) / len(text) for part in parts] == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    assert drawn(plan, tmp_path).shape == (4, 16)
    (score,) = scores(plan, tmp_path, home / "plain")
    expected = windows(home / "plain", parts[2], 16, bos=False)
    assert score.value == pytest.approx(plain_perplexity(home / "plain", expected), rel=1e-4)


def test_a_corpus_with_documents_in_all_splits_is_cut_by_hash_as_ever(home: Path, tmp_path: Path) -> None:
    study(tmp_path, tiny.make_text(60), model=home / "plain", documents="blank_lines")
    manifest = load_manifest(tmp_path / "resources/corpora/own/asset.json")
    assert manifest.split_by is None and "split_by" not in (tmp_path / "resources/corpora/own/asset.json").read_text()
    # Pinned: other numbers would mix test text into calibration.
    assert manifest.documents == {"calibration": 41, "tuning": 6, "test": 13}


def test_a_text_that_cannot_be_cut_says_so(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PrunebenchError) as error:
        study(tmp_path, "雪" * 500, model=home / "plain")
    assert "'own' has 1 document, none for " in str(error.value)
    assert "not enough white space to cut it at: give it more documents, or say 'use: calibration'" in str(error.value)


def test_all_of_a_corpus_for_calibration(home: Path, tmp_path: Path) -> None:
    config = {
        "models": {
            "tiny": {"title": "Tiny", "family": "llama", "source": {"kind": "path", "path": str(home / "plain")}}
        },
        "corpora": {
            "own": {
                "title": "Own",
                "source": {"kind": "path", "path": str(home / "my.txt")},
                "documents": "auto",
                "use": "calibration",
            }
        },
        "suites": {"short": {"suite": "perplexity", "params": {"corpora": ["wikipedia"], "seqlen": 16}}},
        "studies": {
            "s": {
                "suites": "short",
                "grid": [{"model": "tiny", "method": "wanda", "sparsity": 0.5, "calibration": "own_4x16"}],
            }
        },
    }
    assert load_plan(config).cells
    config["suites"] |= {"own": {"suite": "perplexity", "params": {"corpora": ["own"], "seqlen": 16}}}
    with pytest.raises(PrunebenchError, match=r"'own' has no split test \(it has: calibration\)"):
        load_plan(config)


@pytest.mark.parametrize(
    ("model", "bos", "front"), [("begun", "auto", True), ("plain", "auto", False), ("plain", "window", True)]
)
def test_a_study_can_begin_each_window_with_bos(model: str, bos: str, front: bool, home: Path, tmp_path: Path) -> None:
    plan = study(tmp_path, " ".join(tiny.make_text(60)), bos=bos, model=home / model, calibration_bos=bos)
    tokens = drawn(plan, tmp_path)
    assert ((tokens[:, 0] == 1).all(), (tokens[:, 1:] == 1).any()) == (front, False)
    assert json.loads((tmp_path / "tokens.json").read_text())["bos"] == ("window" if front else False)
    (score,) = scores(plan, tmp_path, home / model)
    test = load_split(tmp_path / "resources/corpora/own", "test")[0]
    expected = plain_perplexity(home / model, windows(home / model, test, 16, bos=front))
    assert score.value == pytest.approx(expected, rel=1e-4)
    assert score.details["bos"] == ("window" if front else False)


def test_windows_from_documents_can_begin_with_bos(home: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"documents": "blank_lines", "calibration": "documents"}
    plan = study(tmp_path, tiny.make_text(60), model=home / "begun", calibration_bos="window", **keys)
    tokens = drawn(plan, tmp_path)
    assert tokens.shape == (4, 16) and (tokens[:, 0] == 1).all() and not (tokens[:, 1:] == 1).any()
    with pytest.raises(PrunebenchError, match="'calibration_bos': there is no stream"):
        study(tmp_path, "a", model=home / "begun", calibration_bos=True, **keys)


DRAW = {"model": "tiny", "calibration": "own_4x16", "seed": 0}


def test_calibration_bos_is_part_of_the_tokens_and_fetches_nothing_again(home: Path, tmp_path: Path) -> None:
    text = " ".join(tiny.make_text(60))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    without = study(tmp_path / "a", text, model=home / "plain")
    with_bos = study(tmp_path / "a", text, model=home / "plain", calibration_bos="window")
    assert without.asset("corpora/own").spec == with_bos.asset("corpora/own").spec
    assert without.job("calibrate", **DRAW).spec != with_bos.job("calibrate", **DRAW).spec
    assert "bos" not in json.loads(without.job("calibrate", **DRAW).spec)


# Ids beyond the embedding


def test_a_tokenizer_that_knows_more_than_the_model_stops_calibrate(home: Path, tmp_path: Path) -> None:
    """The stage, in a process as the rule runs it, stops with one line before anything is pruned."""
    small = tiny.make_model(tmp_path / "small", tokenizer=tokenizer("<s> $A"), vocab_size=80)
    plan = study(tmp_path, " ".join(tiny.make_text(60)), model=small)
    (cell,) = plan.cells
    options = {
        "--spec": plan.job("calibrate", model="tiny", calibration=cell.calibration, seed=0).spec,
        "--model": paths.MODEL.format(model="tiny"),
        "--corpus": paths.CORPUS.format(corpus="own"),
        "--tokens": "tokens.npy",
        "--record": "tokens.json",
    }
    script = [
        sys.executable,
        *("-m", "prunebench.stages", "calibrate"),
        *[part for pair in options.items() for part in pair],
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    result = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    message = "what the tokenizer of 'tiny' makes of 'own' holds token ids from "
    assert message in result.stderr and "but the model knows 0 to 79" in result.stderr
    assert not (tmp_path / "tokens.npy").exists()
    with pytest.raises(PrunebenchError, match=r"what the tokenizer of .*small makes of own: the test split holds"):
        scores(plan, tmp_path, small)
    said = refused("ppl", small, "--text", tmp_path / "own.txt", "--seqlen", 16)
    assert "what the tokenizer of small makes of" in said and "but the model knows 0 to 79" in said
    words = ["prune", small, "--out", tmp_path / "out", "--sparsity", "0.5", "--method", "wanda", "--samples", 4]
    assert "but the model knows 0 to 79" in refused(*words, "--seqlen", 16, "--calibration", tmp_path / "own.txt")
    np.save(tmp_path / "ids.npy", np.array([[-1, 3]]))
    assert "holds token ids from -1 to 3" in refused(*words[:-2], "--calibration", tmp_path / "ids.npy")
