"""The generated pages say what plug-ins and catalogs say."""

from pathlib import Path

import pytest

from prunebench import registry
from prunebench.choices.pages import DOCS, pages
from prunebench.choices.parameters import parameters

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(REPOSITORY)
    return pages()


@pytest.mark.parametrize("file", ["methods.md", "suites.md", "python.md"])
def test_the_page_on_disk_is_up_to_date(file: str, written: dict[str, str]) -> None:
    stored = (REPOSITORY / DOCS / file).read_text(encoding="utf-8")
    assert stored == written[file], "write it again: make docs"


@pytest.mark.parametrize(("kind", "file"), [("methods", "methods"), ("allocators", "methods"), ("suites", "suites")])
def test_every_plug_in_and_all_its_parameters_are_described(kind: str, file: str, written: dict[str, str]) -> None:
    for name in registry.names(kind):
        assert f": `{name}`\n" in written[f"{file}.md"]
        unexplained = [parameter.name for parameter in parameters(registry.load(kind, name)) if not parameter.meaning]
        assert not unexplained, f"{kind}/{name}.py: say what these mean, in a string under them: {unexplained}"


def test_a_parameter_in_words() -> None:
    (limit,) = (found for found in parameters(registry.load("suites", "lm_eval")) if found.name == "limit")
    assert limit[:3] == ("limit", "integer >= 2, or null", "null")
    assert limit.meaning.startswith("evaluate on so many rows of a task")
    assert parameters(registry.load("methods", "wanda")) == [
        ("rounding", "nearest | down", "nearest", "how the number of zeros in a row is rounded")
    ]
    assert [found.default for found in parameters(registry.load("methods", "external"))] == ["required"]
