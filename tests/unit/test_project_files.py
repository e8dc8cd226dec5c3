"""Files that other programs read: the site's, the container's, GitHub's and those of catalogs."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import prunebench
from documents import REPOSITORY, read
from prunebench.registry import names

DIRECTIVES = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT", "CMD", "ARG"}
TEMPLATES = sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml"))


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, which names functions."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda *_: None)


def pages(nav: list[Any]) -> list[str]:
    """All pages in the navigation of the site."""
    entries = [value for entry in nav for value in (entry.values() if isinstance(entry, dict) else [entry])]
    return [page for entry in entries for page in (pages(entry) if isinstance(entry, list) else [entry])]


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a container file as (name, arguments)."""
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


def test_every_document_has_a_place_on_the_site_and_every_place_a_document() -> None:
    pytest.importorskip("mkdocs")
    outside = runpy.run_path(str(REPOSITORY / "docs/hooks.py"))["PAGES"]
    site = yaml.load(read("mkdocs.yml"), Loader)
    listed = pages(site["nav"])
    inside = {path.name for path in (REPOSITORY / "docs").glob("*.md")}
    assert sorted(listed) == sorted(inside | set(outside.values()))
    assert all((REPOSITORY / source).is_file() for source in outside)


@pytest.mark.parametrize(
    ("page", "text", "shown"),
    [
        ("index.md", "[a](docs/faq.md#b)", "[a](faq.md#b)"),
        ("index.md", "![a](docs/figures/b.svg)", "![a](figures/b.svg)"),
        ("index.md", "[a](config/README.md)", "[a](config.md)"),
        ("config.md", "[a](../docs/faq.md)", "[a](faq.md)"),
        ("faq.md", "[a](../README.md#b)", "[a](index.md#b)"),
        ("faq.md", "[a `b`](../rules/prune.smk)", "a `b`"),
        ("faq.md", "[a](nowhere.md) [b](../nowhere.py)", "[a](nowhere.md) [b](../nowhere.py)"),
        ("faq.md", "[a](https://b.c/d) [e](#f)", "[a](https://b.c/d) [e](#f)"),
        ("faq.md", "`[a](../README.md)`", "`[a](../README.md)`"),
    ],
)
def test_links_of_the_repository_lead_to_pages_of_the_site(page: str, text: str, shown: str) -> None:
    pytest.importorskip("mkdocs")
    hook = runpy.run_path(str(REPOSITORY / "docs/hooks.py"))["on_page_markdown"]
    known = {"index.md", "config.md", "faq.md"}
    files = SimpleNamespace(get_file_from_path=lambda name: name in known or None)
    assert hook(text, SimpleNamespace(file=SimpleNamespace(src_uri=page)), None, files) == shown


def test_the_container_is_built_from_files_that_are_there() -> None:
    steps = instructions(read("Dockerfile"))
    assert {name for name, _ in steps} <= DIRECTIVES and steps[0][0] == "FROM"
    stages = [rest.split(" AS ")[-1] for name, rest in steps if name == "FROM"]
    copied = [rest for name, rest in steps if name == "COPY"]
    for words in map(str.split, copied):
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
        else:
            assert all((REPOSITORY / source).exists() for source in words[:-1])
    used = " ".join(rest for name, rest in steps if name == "RUN")
    assert "constraints.txt" in used and all(":latest" not in stage for stage in stages)
    ignored = read(".dockerignore").split()
    assert not {"workflow", "config", "rules", "Snakefile", "pyproject.toml", "constraints.txt"} & set(ignored)
    assert dict(steps)["ENTRYPOINT"] == '["prunebench"]'


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_of_issues_are_forms(path: Path) -> None:
    """GitHub shows no form at all if one field is wrong."""
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "body", "labels"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in form["body"]} <= {"markdown", "textarea", "input", "dropdown"}
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids) > 0
    assert all(isinstance(option, str) for field in fields for option in field["attributes"].get("options", ()))


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_the_report_of_snakemake_has_a_caption_for_each(kind: str) -> None:
    described = set(re.findall(r'^"(\w+)": "', read(f"workflow/captions/{kind}.rst"), re.MULTILINE))
    assert described == set(names(f"{kind}s"))


def test_versions_agree() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == prunebench.__version__
    assert (REPOSITORY / f"docs/release-{prunebench.__version__}.md").is_file()
    assert f"## {prunebench.__version__}" in read("CHANGELOG.md")


def test_the_workflow_catalog_names_a_config_that_is_there() -> None:
    usage = yaml.safe_load(read(".snakemake-workflow-catalog.yml"))["usage"]
    flags = usage["mandatory-flags"]["flags"].split()
    assert flags[0] == "--configfile" and (REPOSITORY / flags[1]).is_file()
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}


def test_the_site_is_built_strictly() -> None:
    """With --quiet MkDocs counts no warning, so that --strict accepts dead links."""
    (build,) = re.findall(r"mkdocs build .*", read("Makefile"))
    assert "--strict" in build and "-q" not in build
    checked = yaml.load(read("mkdocs.yml"), Loader)["validation"]
    assert {checked[kind] for kind in ("not_found", "anchors", "absolute_links", "unrecognized_links")} == {"warn"}
