"""A mistake that is known from the config, the catalogs and local files is refused before any job, in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from prunebench.assets.corpora import split_by_hash, split_by_position
from prunebench.assets.texts import read_documents
from prunebench.config.entries import CorpusEntry
from prunebench.errors import PrunebenchError
from prunebench.plan.plan import load_plan
from prunebench.plan.texts import most_tokens
from studies import STUDY, changed, grid

ROW = "studies.tiny.grid.1"
SUITE = STUDY["suites"]["ppl_tiny"]
MODEL: dict[str, Any] = STUDY["models"]["tiny"]
VALUES: list[tuple[str, Any, str]] = [
    (f"{ROW}.seed", 10**30, "studies.tiny.grid[1].seed: must be less than or equal to 4294967295"),
    (f"{ROW}.seed", 2**32, "studies.tiny.grid[1].seed: must be less than or equal to 4294967295"),
    (f"{ROW}.seed", True, "studies.tiny.grid[1].seed: must be a valid integer"),
    (f"{ROW}.seed", [0, False], "studies.tiny.grid[1].seed[1]: must be a valid integer"),
    (f"{ROW}.seed", 0.5, "studies.tiny.grid[1].seed: must be a valid integer"),
    (f"{ROW}.sparsity", float("nan"), "studies.tiny.grid[1].sparsity: nan is not a number"),
    (f"{ROW}.sparsity", float("inf"), "studies.tiny.grid[1].sparsity: inf is not a number"),
    ("compute.threads", 1_000_000, "compute.threads: must be less than or equal to 1024 (got 1000000)"),
    ("compute.threads", True, "compute.threads: must be a valid integer"),
    ("compute.batch_size", 10**9, "compute.batch_size: must be less than or equal to 65536"),
    ("suites.ppl_tiny.params.seqlen", 1, "suites.ppl_tiny.params.seqlen: must be greater than or equal to 2 (got 1)"),
    ("suites.ppl_tiny.params.windows", True, "suites.ppl_tiny.params.windows: must be a valid integer"),
    ("methods.mine", {"method": "sparsegpt", "params": {"damping": float("nan")}}, "damping: must be a finite number"),
    ("methods.mine", {"method": "sparsegpt", "params": {"damping": True}}, "damping: must be a valid number"),
    ("suites", {"x": SUITE, "x.measured": SUITE}, "suites.x.measured: must be lower-case letters, digits and '_'"),
    ("studies", {"x.json": STUDY["studies"]["tiny"]}, "studies.x.json: must be lower-case letters, digits and '_'"),
    (f"models.{'ab' * 20}", MODEL, "ends in 20 times 'ab', which Snakemake refuses: choose another name"),
    (f"models.{'a' * 101}", MODEL, "should have at most 100 characters"),
    ("studies.tiny.defaults.calibration", "text_4x1", "with a SEQLEN of 2 or more (got 'text_4x1')"),
    ("max_cells", 4, "studies.tiny.grid[1]: with this row the studies have up to 5 cells, more than 4"),
]
CONTEXT = "models.tiny.shape.context"
FITS: list[tuple[str, Any, str]] = [
    (CONTEXT, 15, "studies.tiny.grid[0].suites: ppl_tiny has windows of 16 tokens, but tiny reads at most 15"),
    (
        "studies.tiny.defaults.calibration",
        "text_4x200",
        "studies.tiny.grid[1].calibration: text_4x200 has windows of 200 tokens, but tiny reads at most 100",
    ),
    (
        "corpora.text.calibration_tokens",
        63,
        "studies.tiny.grid[1].calibration: text_4x16 needs 64 tokens, but the text",
    ),
]


def message(config: dict[str, Any]) -> str:
    with pytest.raises(PrunebenchError) as error:
        load_plan(config, "my.yaml")
    assert "\n" not in str(error.value) and str(error.value).startswith("my.yaml: ")
    return str(error.value)


@pytest.mark.parametrize(("path", "value", "expected"), VALUES, ids=lambda part: str(part)[:40])
def test_a_value_that_no_job_can_use(path: str, value: Any, expected: str) -> None:
    assert expected in message(changed(path, value))


@pytest.mark.parametrize(("path", "value", "expected"), FITS)
def test_windows_longer_than_the_model_or_larger_than_the_text(path: str, value: Any, expected: str) -> None:
    assert expected in message(changed(path, value, changed(CONTEXT, 100)))


@pytest.mark.parametrize("value", ["-0.0", -0.0, "0.0", 0])
def test_minus_zero_is_zero(value: object) -> None:
    plan = load_plan(grid({"method": "wanda", "sparsity": value}))
    assert [cell.sparsity for cell in plan.cells] == ["0.00"]


def test_the_context_of_a_model_and_the_size_of_a_text_are_in_no_spec() -> None:
    bare, known = load_plan(STUDY), load_plan(changed(CONTEXT, 100, changed("corpora.text.calibration_tokens", 1000)))
    for rule, wildcards in (("fetch_model", {"model": "tiny"}), ("fetch_corpus", {"corpus": "text"})):
        assert bare.job(rule, **wildcards).spec == known.job(rule, **wildcards).spec


def test_the_number_of_cells_allowed_is_in_no_spec() -> None:
    assert load_plan(STUDY).job("collect").spec == load_plan(changed("max_cells", 100)).job("collect").spec


def test_a_huge_grid_is_refused_before_its_cells_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunebench.plan.plan.expand_grid", lambda *words: pytest.fail("cells are made"))
    axes = {"method": ["wanda", "magnitude", "sparsegpt"], "sparsity": [i / 100 for i in range(99)]}
    axes |= {"seed": list(range(667))}
    assert "up to 198,099 cells, more than 20,000: shorten the lists of this row, or raise 'max_cells'" in message(
        grid(axes)
    )


def test_local_files_tell_what_they_have_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    config = {"model_type": "llama", "vocab_size": 160, "max_position_embeddings": 12, **sizes}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    # Equal lines would all be in one split, so the text is cut by position: 60% of it are for calibration.
    (tmp_path / "text.txt").write_text("a b c\n" * 60)
    local = {"title": "T", "source": {"kind": "path", "path": "text.txt"}, "documents": "lines"}
    model = {"title": "M", "family": "llama", "source": {"kind": "path", "path": "model"}}
    assert "ppl_tiny has windows of 16 tokens, but tiny reads at most 12" in message(changed("models.tiny", model))
    assert "text_4x16 needs 64 tokens" not in message(changed("models.tiny", model, changed("corpora.text", local)))
    few = changed("studies.tiny.defaults.calibration", "text_40x16", changed("corpora.text", local))
    assert "text_40x16 needs 640 tokens, but the text has fewer than 253 for calibration" in message(few)


@pytest.mark.parametrize(
    ("params", "refused"),
    [
        ({"windows": 13}, "needs 208 tokens, but the test split of text has fewer than 202"),
        ({"windows": 12}, None),
        ({"windows": 13, "bos": "window"}, None),  # 195 tokens of text
        ({"windows": 13, "bos": "auto"}, None),
        ({"windows": 14, "bos": "auto"}, "needs 210 tokens"),
        ({"windows": None}, None),
        ({"windows": None, "seqlen": 203}, "needs 203 tokens, but the test split of text has fewer than 202"),
    ],
    ids=str,
)
def test_the_test_split_of_a_local_text_bounds_the_windows(
    params: dict[str, Any], refused: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a b c d e\n" * 100)
    local = {"title": "T", "source": {"kind": "path", "path": "text.txt"}, "documents": "auto"}
    config = changed("suites.ppl_tiny.params", {**SUITE["params"], **params}, changed("corpora.text", local))
    if refused is None:
        load_plan(config)
    else:
        assert f"studies.tiny.grid[0].suites: ppl_tiny {refused}" in message(config)


def test_no_split_of_a_local_text_has_more_tokens_than_its_bound(tmp_path: Path) -> None:
    """Tokens are bytes here, and two more stand between documents."""
    for name, text in {"whole.txt": "né " * 99, "lines.txt": "\n".join(f"{i} é" for i in range(50))}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        source = {"kind": "path", "path": str(tmp_path / name)}
        entry = CorpusEntry.model_validate({"title": "T", "source": source, "documents": name.removesuffix(".txt")})
        documents = read_documents(tmp_path / name, entry.documents)
        splits = split_by_hash(documents) if len(documents) > 1 else split_by_position(documents)
        for split, texts in splits.items():
            most = most_tokens(entry, split)
            assert most is not None and len("\n\n".join(texts).encode()) < most <= len("".join(texts).encode()) * 2 + 3


@pytest.mark.parametrize("name", ["a{x}.txt", "<results>.txt", "{model}", "a\nb.txt", "\x1b[2J"])
def test_names_that_snakemake_gives_a_meaning_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / name).write_text("text " * 999)
    for path in ("texts", *([f"texts/{name}"] if name.isprintable() else [])):
        local = {"title": "T", "source": {"kind": "path", "path": path}, "documents": "lines"}
        assert "{ } < > and control characters in names of files have a meaning: rename" in message(
            changed("corpora.text", local)
        )


@pytest.mark.parametrize("name", ["a b.txt", "a'b.txt", 'a"b.txt', "$(id).txt", "%s.txt", "a;b.txt", "*.txt", "é.txt"])
def test_other_names_are_plain(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("text " * 999)
    local = {"title": "T", "source": {"kind": "path", "path": name}, "documents": "lines"}
    assert load_plan(changed("corpora.text", local)).job("fetch_corpus", corpus="text").input("files") == [name]


def test_a_sparsity_without_a_search_is_skipped_with_its_reason() -> None:
    search = {"model": "tiny", "sparsity": 0.7, "space": "slopes", "strategy": "grid", "seeds": [0]}
    search |= {"calibration": "text_4x16", "corpus": "text"}
    config = changed("allocators.sloped", {"allocator": "atp", "params": {"search": {0.7: "slopes"}}})
    config = changed("searches.slopes", search, config)
    config["studies"]["tiny"]["grid"] = [{"method": "wanda", "allocator": "sloped", "sparsity": [0.6, 0.7]}]
    ((cell, reason),) = load_plan(config).studies["tiny"].skipped
    assert cell.sparsity == "0.60" and reason == "sloped has no search for a sparsity of 0.60: add one to its entry"
