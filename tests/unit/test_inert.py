"""Texts of configs and reasons of failures are inert in Markdown, CSV, HTML, LaTeX, figures and a terminal."""

import csv
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pandas as pd
import pytest
from pydantic import BaseModel
from rich.console import Console

from contract import shown
from prunebench.config.schema import Config
from prunebench.errors import PrunebenchError
from prunebench.estimate.devices import device
from prunebench.estimate.estimate import Estimate
from prunebench.estimate.show import overview
from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.draw import save
from prunebench.plan.plan import Plan, load_plan
from prunebench.report.data import gather
from prunebench.report.plots import plots
from prunebench.results.current import Results
from prunebench.results.detail import Records
from prunebench.stages.report import render
from prunebench.standalone.export import model_card
from prunebench.tables.escape import csv_text, from_csv, markdown
from prunebench.tables.make import make_table, read_cells
from prunebench.tables.table import PACKAGES, Table
from prunebench.view.states import states
from prunebench.view.status import overview as status

MARKUP = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>|`c`![i](http://e.example)<a href='javascript:1'>[red]*b*$"
)
HOSTILE = (
    f"=HYPERLINK(1){MARKUP}",
    f"+1+cmd|{MARKUP}",
    f"-2+3{MARKUP}",
    f"@SUM(A1){MARKUP}",
    f"_a {MARKUP} \\input{{/etc/passwd}} ^^5c % {{x}} %s $\\frac",
    f"[2cm]{MARKUP}\\\\",
    "*star* # head > quote 1. list www.e.example https://e.example",
    "</title></style></script><!-- --> ]]> &amp; &lt;script&gt; \"q\" 'p'",
)
FORMULAS = ("=1", "+a", "-a", "@a", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "''=1", "-1+cmd", "=", "@")
LINK = r"(?<!\\)\]\("
"""The middle of a link in Markdown."""
PLAIN = ("1.5", "-1.5", "+3", "1.00 ± 0.02", "-0.5%", "1e-05", "", "text", "'quoted' text", "a=b", "-", "2of4 (50%)")


def texts(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the place of each text of a config that has no pattern; `*` stands for any key or index."""

    def inside(annotation: Any, at: tuple[str, ...], free: bool) -> Iterator[tuple[str, ...]]:
        if get_origin(annotation) in (Union, UnionType):
            for part in get_args(annotation):
                yield from inside(part, at, free)
        elif hasattr(annotation, "__metadata__"):
            formed = any(getattr(part, "pattern", None) for part in annotation.__metadata__)
            yield from inside(annotation.__origin__, at, free and not formed)
        elif get_origin(annotation) in (list, dict):
            yield from inside(get_args(annotation)[-1], (*at, "*"), free)
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from texts(annotation, at)
        elif annotation in (str, Any) and free:
            yield at

    for name, field in model.model_fields.items():
        formed = any(getattr(part, "pattern", None) for part in field.metadata)
        yield from inside(field.annotation, (*at, name), not formed)


TITLES = sorted({place for place in texts(Config) if place[-1] == "title"})
OTHERS = sorted(set(texts(Config)) - set(TITLES))


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    """The config of the study for all tables and figures, with an entry of each kind."""
    raw = shown.plan(Path("nowhere")).raw
    raw["methods"] = {"wanda": {"method": "wanda", "title": "W"}}
    raw["allocators"] = {"owl": {"allocator": "owl", "title": "O"}}
    raw["searches"]["evolution"]["title"] = raw["suites"]["ppl"]["title"] = "S"
    raw["methods"]["wanda"] |= {"preset": "paper", "params": {"rounding": "down"}}
    raw["corpora"]["text"] |= {"column": "text", "documents": "jsonl"}
    raw["studies"]["tiny"]["published"] = ["Wanda"]
    raw["studies"]["tiny"]["title"] = raw["tasks"]["few"]["tasks"]["rte"]["title"] = "T"
    return json.loads(json.dumps(raw))  # type: ignore[no-any-return]


def replaced(raw: dict[str, Any], field: tuple[str, ...], text: str) -> dict[str, Any] | None:
    """`raw` with `text` in every place that `field` names; None if it has no such place."""
    copy = json.loads(json.dumps(raw))
    nodes = [copy]
    for part in field[:-1]:
        below = [list(node.values() if isinstance(node, dict) else node) for node in nodes if part == "*"]
        nodes = list(chain.from_iterable(below)) if part == "*" else [node[part] for node in nodes if part in node]
        nodes = [node for node in nodes if isinstance(node, dict | list)]
    count = 0
    for node in nodes:
        keys = (
            list(node) if field[-1] == "*" and isinstance(node, dict) else range(len(node)) if field[-1] == "*" else ()
        )
        for key in keys or [field[-1]]:
            if (isinstance(node, dict) and key in node) or isinstance(key, int):
                node[key], count = text, count + 1
    return copy if count else None


class Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(f"{tag} {' '.join(name for name, _ in attrs)}")


def tags(page: str) -> list[str]:
    parser = Tags()
    parser.feed(page)
    return parser.tags


def cells_of(markdown: str) -> set[int]:
    """The numbers of cells of the rows of a table in Markdown."""
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}


def show(plan: Plan) -> dict[str, str]:
    """All that is shown of a plan, by its form."""
    cells = shown.rows(plan, failed=5)
    made = [make_table(plan, cells, "tiny", table, Records(plan)) for _, table in plan.shown.tables]
    pages = {form: "\n".join(table.render(form) for table in made) for form in ("md", "csv", "html", "tex")}
    console = Console(file=io.StringIO(), width=4000, force_terminal=False)
    console.print(
        status(plan, states(plan, Results(plan), ["tiny"])),
        overview("tiny", Estimate.of(plan, ["tiny"], device("cpu"))),
    )
    return {**pages, "report": render(gather(plan, cells)), "terminal": console.file.getvalue()}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def plain(base: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of the study with plain texts."""
    return show(load_plan(base, catalog=tmp_path_factory.mktemp("catalog")))


def check_inert(pages: dict[str, str], plain: dict[str, str]) -> None:
    """The pages have the structure of the pages with plain texts."""
    for form in ("html", "report"):
        assert tags(pages[form]) == tags(plain[form]), form
    assert "<script" not in pages["md"] and not re.search(LINK, pages["md"])
    assert cells_of(pages["md"]) == cells_of(plain["md"])
    for row in csv.reader(io.StringIO(pages["csv"])):
        assert all(entry == csv_text(from_csv(entry)) for entry in row), row
    assert not re.search(r"\\(input|frac|script)", pages["tex"])
    assert pages["terminal"].count("\n") == plain["terminal"].count("\n")


@pytest.mark.parametrize("text", (HOSTILE[0], HOSTILE[4], HOSTILE[7]))
def test_titles_are_inert_wherever_they_are_shown(
    text: str, base: dict[str, Any], plain: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = base
    for field in TITLES:
        raw = replaced(raw, field, text) or raw
    pages = show(load_plan(raw, catalog=tmp_path))
    check_inert(pages, plain)
    assert markdown(text) in pages["md"], "nobody looked at the titles"


def test_the_walk_finds_the_texts() -> None:
    assert ("studies", "*", "title") in TITLES and ("tasks", "*", "tasks", "*", "title") in TITLES
    assert ("corpora", "*", "column") in OTHERS and len(TITLES) == 9


def test_other_texts_are_refused_or_inert(
    base: dict[str, Any], plain: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tried = 0
    for field in OTHERS:
        for text in (HOSTILE[4], "a" * 5000, "a/**/[b]?.json", "\x1b[2J", "a\nb", ""):
            raw = replaced(base, field, text)
            if raw is None:
                continue
            tried += 1
            try:
                plan = load_plan(raw, catalog=tmp_path)
            except PrunebenchError as error:
                for line in str(error).split("\n"):
                    assert len(line) < 1000 and line.startswith("config/config.yaml: "), (field, line)
            else:
                if text == HOSTILE[4]:
                    check_inert(show(plan), plain)
    assert tried > 60


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_a_formula_is_a_text_and_comes_back(text: str) -> None:
    assert csv_text(text) == f"'{text}" and from_csv(csv_text(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_numbers_and_plain_texts_stay(text: str) -> None:
    assert csv_text(text) == text == from_csv(text)


@pytest.mark.parametrize("reason", [*HOSTILE, *FORMULAS[:5], *FORMULAS[7:], "'=1' and more"], ids=ascii)
def test_reasons_come_back_from_cells_csv(reason: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"sparsity": ["0.50"], "reason": [csv_text(reason)]})
    rows.to_csv(tmp_path / "cells.csv", index=False)
    assert not re.match("[=+@\t\r\n-]", next(csv.DictReader((tmp_path / "cells.csv").open(newline="")))["reason"])
    assert read_cells(tmp_path / "cells.csv")["reason"][0] == reason


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_has_no_markup(text: str) -> None:
    shown_text = markdown(f"{text}\n# next | line")
    assert "\n" not in shown_text and "<" not in shown_text and not re.search(r"(?<!\\)[|`*\[\]]", shown_text)
    assert "://" not in shown_text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX: install texlive-latex-base, -latex-recommended")
def test_latex_of_hostile_texts_compiles_and_reads_nothing(tmp_path: Path) -> None:
    texts_ = [*HOSTILE]
    rows = [(text, "Wanda", text) for text in texts_]
    table = Table(texts_[4], ("Model", "[Method]"), [(texts_[1], texts_[5])], rows, texts_, frozenset({(0, 0), (5, 0)}))
    assert not re.search(r"^[\[*]", table.render("tex"), re.MULTILINE), (
        "LaTeX takes it for an option of the line before"
    )
    head = rf"\documentclass{{article}}\usepackage{{{','.join(PACKAGES)}}}"
    (tmp_path / "t.tex").write_text(f"{head}\\begin{{document}}\n{table.render('tex')}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-recorder", "t.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout[-3000:]
    assert "/etc/passwd" not in (tmp_path / "t.fls").read_text()


def test_a_figure_is_drawn_with_hostile_labels(tmp_path: Path) -> None:
    series = [Series(text, Style(), [1, 2], [1.0, 2.0], names=[text, text]) for text in HOSTILE]
    panel = Panel(HOSTILE[0], series, {HOSTILE[4]: 1.5})
    chart = Chart(HOSTILE[1], Axis("x"), Axis("y"), [panel, panel], list(HOSTILE), columns=2)
    for suffix in ("svg", "png"):
        save(chart, tmp_path / f"a.{suffix}")
    drawing = ElementTree.parse(tmp_path / "a.svg")
    assert not [node.tag for node in drawing.iter() if node.tag.endswith(("script", "image", "}a"))]
    shown_texts = json.dumps([(plot["data"], plot["layout"]["annotations"]) for plot in plots(chart)])
    assert "<" not in re.sub(r'"name": "(?:[^"\\]|\\.)*"|<extra></extra>', "", shown_texts)


def test_the_card_of_a_model_has_no_markup() -> None:
    spec = {
        "params": {HOSTILE[0]: HOSTILE[5]},
        "compute": None,
        "method": HOSTILE[1],
        "pattern": "2of4",
        "storage": "stored",
    }
    pruned = {"spec": spec, "achieved_sparsity": 0.5, "prunable_weights": 1, "inputs": {}}
    pruned["model"] = {"title": HOSTILE[0], "source": {"kind": "path", "path": "x"}}
    card = model_card({"prune": pruned, "cell": "m/w/uniform/2of4/none-seed0", "versions": {}})
    assert "<" not in card and cells_of(card) == {3} and not re.search(LINK, card)
