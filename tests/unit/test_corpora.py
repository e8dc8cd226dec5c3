"""Text files -> documents -> splits."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.assets.corpora import SPLITS, load_split, split_by_hash, split_by_position, split_of, write_splits
from prunebench.assets.texts import read_documents
from prunebench.config.values import DocumentKind
from prunebench.errors import PrunebenchError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("lines", "one \n\n  two\x0cstill\u2028two\n", ["one", "two\x0cstill\u2028two"]),
        ("blank_lines", "a\nb\n\nc\n \n\n d \n", ["a\nb", "c", "d"]),
        (
            "wikiextractor",
            '<doc id="1" title="A">\nA\n\nbody <b>x</b>\n</doc>\n<doc id="2">\n\n</doc>\n<doc id="3">\nC\n</doc>\n',
            ["A\n\nbody <b>x</b>", "C"],
        ),
        ("jsonl", '{"text": " a\\nb ", "id": 1}\n\n{"text": ""}\n{"text": "c"}', ["a\nb", "c"]),
    ],
)
def test_each_kind_cuts_strips_and_drops_empty(
    tmp_path: Path, kind: DocumentKind, text: str, expected: list[str]
) -> None:
    file = tmp_path / "corpus"
    file.write_text(text, encoding="utf-8")
    assert read_documents(file, kind) == expected


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("lines", b" \n\n", "no document"),
        ("wikiextractor", b"plain text", "no document when read as 'wikiextractor'"),
        ("lines", b"caf\xe9", "not UTF-8"),
        ("jsonl", b'{"text": "a"}\n{"body": "b"}\n', "line 2"),
        ("jsonl", b'{"text": "a"}\n\n{"text": "b"\n', "line 3"),
        ("jsonl", b'{"text": 3}\n', "line 1"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, kind: DocumentKind, content: bytes, message: str) -> None:
    file = tmp_path / "corpus"
    file.write_bytes(content)
    with pytest.raises(PrunebenchError, match=message) as error:
        read_documents(file, kind)
    assert str(file) in str(error.value)


def test_split_of_is_fixed_for_ever() -> None:
    """A changed rule would silently mix test text into calibration."""
    assert [split_of(text) for text in ("a", "été")] == ["calibration", "calibration"]
    assert [split_of(text) for text in ("i", "f", "h")] == ["tuning", "test", "test"]


def test_split_shares_are_60_20_20() -> None:
    counts = Counter(split_of(f"document {index}") for index in range(10_000))
    assert counts["calibration"] == pytest.approx(6000, abs=200)
    assert counts["tuning"] == pytest.approx(2000, abs=160)
    assert counts["test"] == pytest.approx(2000, abs=160)


@given(documents=st.lists(TEXT))
def test_splits_partition_the_documents(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> None:
    dest = tmp_path_factory.mktemp("splits")
    counts = write_splits(split_by_hash(documents), dest)
    loaded = {split: load_split(dest, split) for split in SPLITS}
    assert {split: len(loaded[split]) for split in SPLITS} == counts
    for split in SPLITS:
        assert loaded[split] == [document for document in documents if split_of(document) == split]
    assert sorted(path.name for path in dest.iterdir()) == ["calibration.jsonl", "test.jsonl", "tuning.jsonl"]


def test_a_corpus_for_training_has_one_split(tmp_path: Path) -> None:
    documents = [f"document {index}" for index in range(20)]
    assert write_splits({"training": documents}, tmp_path) == {"training": 20}
    assert load_split(tmp_path, "training") == documents
    assert [path.name for path in tmp_path.iterdir()] == ["training.jsonl"]


WORDS = [f"word{index}" for index in range(200)]


@pytest.mark.parametrize("documents", [[" ".join(WORDS)], WORDS[:2], ["\n".join(WORDS)], ["\u3000".join(WORDS)]])
def test_few_documents_are_cut_by_position_at_white_space(documents: list[str]) -> None:
    if len(documents) == 2:
        documents = [" ".join(WORDS[:20]), " ".join(WORDS[20:])]
    splits = split_by_position(documents)
    assert all(len(texts) == 1 for texts in splits.values())
    words = {split: text.split() for split, (text,) in splits.items()}
    assert words["calibration"] + words["tuning"] + words["test"] == WORDS
    shares = [len(splits[split][0]) / len("\n\n".join(documents)) for split in SPLITS]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


@given(st.text())
def test_a_cut_by_position_loses_nothing_or_says_why(text: str) -> None:
    try:
        splits = split_by_position([text])
    except PrunebenchError as error:
        assert "not enough white space" in str(error)
    else:
        assert all(splits[split][0].strip() for split in SPLITS)
        assert "".join("".join(splits[split][0].split()) for split in SPLITS) == "".join(text.split())
