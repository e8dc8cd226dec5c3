"""LaTeX tables: their text, and that a small TeX makes pages of them on which nothing runs off."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prunebench.tables.table import PACKAGES, TEX_NOTES, TEX_ROWS, Table

EVIL = r"50% of a_b & #1 $x$ {y} ~t ^c \d <e>"
PLAIN = Table(
    f"Title {EVIL}",
    ("Model", "Method"),
    [("50%", "web_text"), ("50%", "c4"), ("2of4 (50%)", EVIL)],
    [("M", "Wanda", "1.00 ± 0.02", "5.12 [1]", "failed"), ("M", "[b]", "3", EVIL, "")],
    ["1 of 2 cells.", "±: standard deviation.", f"[1]: {EVIL}."],
    frozenset({(0, 0), (1, 1)}),
)
WIDE = Table(
    "Wide",
    ("Model", "Method"),
    [(f"{sparsity}%", corpus) for sparsity in (60, 70, 80) for corpus in ("wikitext2", "ptb", "c4")],
    [("M", method, *["1234.56 ± 100.00"] * 9) for method in ("Wanda", "SparseGPT")],
    [f"missing: Wanda, uniform, {sparsity}%, seed 0: not run" for sparsity in range(TEX_NOTES + 20)],
)
LONG = Table(
    "Long",
    ("Method",),
    [("", "Ours"), ("", "Verdict")],
    [(f"Wanda {row}", "1.00", "within") for row in range(3 * TEX_ROWS - 10)],
    ["All cells."],
    frozenset({(2 * TEX_ROWS + 7, 1)}),
)
FULL = replace(LONG, rows=LONG.rows[:TEX_ROWS], notes=WIDE.notes, bold=frozenset())
NOTHING = Table("Nothing", ("Model",), [], [], ["0 of 0 cells."])


def test_special_characters_are_escaped_everywhere() -> None:
    text = PLAIN.render("tex")
    escaped = r"50\% of a\_b \& \#1 \$x\$ \{y\} \textasciitilde{}t \textasciicircum{}c "
    escaped += r"\textbackslash{}d \textless{}e\textgreater{}"
    assert text.count(escaped) == 4 and rf"\textbf{{{escaped}}}" in text
    assert r"\textbf{1.00 $\pm$ 0.02}" in text and "±" not in text
    assert r"$\pm$: standard deviation." in text, "notes are below the table"


def test_more_notes_than_fit_are_comments() -> None:
    lines = WIDE.render("tex").splitlines()
    assert sum(line.startswith("% missing: ") for line in lines) == 20
    assert sum(line.startswith("missing: ") for line in lines) == TEX_NOTES
    assert "20 more notes are comments of this table's file.\\\\" in lines


def test_what_is_longer_than_a_page_becomes_several_tables() -> None:
    text = LONG.render("tex")
    assert text.count(r"\begin{table}") == text.count(r"\toprule") == 3
    parts = text.split(r"\end{table}")
    assert [f"Long ({number} of 3)" in part for number, part in enumerate(parts[:3], start=1)] == [True] * 3
    assert [part.count("1.00") for part in parts] == [TEX_ROWS, TEX_ROWS, TEX_ROWS - 10, 0]
    assert [part.count("All cells.") for part in parts] == [0, 0, 1, 0], "notes once, at the end"
    assert rf"Wanda {2 * TEX_ROWS + 7} & 1.00 & \textbf{{within}} \\" in parts[2] and text.count(r"\textbf") == 1


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX: install texlive-latex-base, -latex-recommended")
def test_it_compiles_and_nothing_runs_off_the_page(tmp_path: Path) -> None:
    body = "\n".join(table.render("tex") for table in (PLAIN, WIDE, LONG, FULL, NOTHING))
    head = rf"\documentclass{{article}}\usepackage{{{','.join(PACKAGES)}}}"
    (tmp_path / "tables.tex").write_text(f"{head}\\begin{{document}}\n{body}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout
    for complaint in ("Overfull", "Missing", "Float too large"):
        assert complaint not in run.stdout, run.stdout
    pages = re.search(r"Output written on tables.pdf \((\d+) pages", run.stdout)
    assert pages and int(pages[1]) >= 3, run.stdout
