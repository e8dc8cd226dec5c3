"""Amounts, patterns, dtypes and places that a user writes in another way than expected."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prunebench.cli import app
from prunebench.cli.options import dtype_name
from prunebench.errors import PrunebenchError
from prunebench.patterns import parse_pattern, sparsity_text
from prunebench.storage.files import named_destination, named_file


@pytest.mark.parametrize(
    ("value", "meant"),
    [("60", "0.6"), (60, "0.6"), (60.0, "0.6"), ("60%", "0.6"), ("60 %", "0.6"), ("5%", "0.05"), ("99.0%", "0.99")],
)
def test_a_percentage_is_answered_by_its_fraction(value: object, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {meant}\\?$"):
        sparsity_text(value)


@pytest.mark.parametrize("value", ["1.5", "2", "100", "160%", "-60", "sixty", "0.6.", "62.5%"])
def test_other_numbers_have_no_such_answer(value: str) -> None:
    with pytest.raises(ValueError, match=r"(?<!\?)$") as raised:
        sparsity_text(value)
    assert "did you mean" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "meant"), [("2:4", "2of4"), ("4:8", "4of8"), ("1/4", "1of4"), ("2-4", "2of4"), ("2 of 4", "2of4")]
)
def test_other_spellings_of_a_pattern(text: str, meant: str) -> None:
    keep, _, group = meant.partition("of")
    with pytest.raises(ValueError, match=f"is written {meant} here, which keeps {keep} of every {group} inputs"):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("fp16", "float16"),
        ("half", "float16"),
        ("bf16", "bfloat16"),
        ("BF16", "bfloat16"),
        ("torch.float16", "float16"),
        ("fp32", "float32"),
        ("bfloat16", "bfloat16"),
    ],
)
def test_short_forms_of_dtypes(text: str, dtype: str) -> None:
    assert dtype_name(text) == dtype


@pytest.mark.parametrize("text", ["int8", "fp8", "", "bfloat"])
def test_other_dtypes_are_refused(text: str) -> None:
    with pytest.raises(PrunebenchError, match=r"^--dtype: unknown dtype"):
        dtype_name(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--sparsity", "60"],
            "--sparsity: 60 is outside [0, 1): sparsity is the fraction of weights",
        ),
        (["--sparsity", "60%"], "did you mean 0.6?"),
        (["--pattern", "2:4"], "'2:4' is written 2of4 here"),
        (["--sparsity", "0.5", "--dtype", "int8"], "--dtype: unknown dtype 'int8'"),
        (["--sparsity", "0.5", "--out", "file/out"], "file is no directory, so"),
        (["--sparsity", "0.5", "--out", "full"], "is not empty: choose another directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_answers_in_one_line_and_recommends_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("full").mkdir()
    Path("full/file").touch()
    out = [] if "--out" in words else ["--out", "out"]
    run = CliRunner().invoke(app, ["prune", "smollm2_135m", *out, *words])
    assert run.exit_code == 1
    assert message in run.output and "Traceback" not in run.output
    assert run.output.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.parametrize("check", [named_destination, named_file])
def test_a_place_that_cannot_be_written(check: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(check)
    (tmp_path / "file").touch()
    with pytest.raises(PrunebenchError, match=f"^--out: {tmp_path}/file is no directory"):
        check(tmp_path / "file/out", "--out")
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for a user who may not write here; root may everything
    with pytest.raises(PrunebenchError, match=f"^--out: {tmp_path} may not be written: name another place"):
        check(tmp_path / "new/out", "--out")
