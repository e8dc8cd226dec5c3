"""How tests read documents, and that links in documents lead somewhere."""

import json
import re
from pathlib import Path

import pytest
import yaml

from documents import DOCUMENTS, REPOSITORY, Block, blocks, commands, read
from prunebench.plan.plan import load_plan

TEXT = """
One file, `methods/mine.py`:

```python
x = 1
```

Not in `methods/other.py` any more.

```sh
one --two 'a # b'   # a remark
# only a remark
three \\
  four              # exits 2: nothing is there
five --watch        # until Ctrl-C
```
"""


def test_blocks_and_commands() -> None:
    python, shell = blocks(TEXT)
    assert python == Block("python", "x = 1\n", 5, "methods/mine.py")
    assert (shell.language, shell.line, shell.file) == ("sh", 11, None)
    found = commands(shell)
    assert [command.words for command in found] == [["one", "--two", "a # b"], ["three", "four"], ["five", "--watch"]]
    assert [(command.exit_code, command.endless) for command in found] == [(0, False), (2, False), (0, True)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(document: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", read(document))
    assert [link for link in links if not ((REPOSITORY / document).parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_name_their_language(document: str) -> None:
    """Blocks without a language would not be tried."""
    text = read(document)
    assert text.count("\n```") == 2 * len(list(blocks(text)))


def test_the_example_of_concepts_is_the_quickstart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = load_plan(yaml.safe_load(read("config/config.yaml")))
    sizes = f"The quickstart has {len(plan.cells)} cells and {len(plan.evaluations)} evaluations."
    assert sizes in read("docs/concepts.md"), "the study has changed: count again what its table says"


@pytest.mark.parametrize("notebook", sorted((REPOSITORY / "docs").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_delete_no_directory_that_documents_have_users_make(notebook: Path) -> None:
    """A notebook may run in the directory where its reader has tried the commands."""
    cells = json.loads(notebook.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    forced = set(re.findall(r'(?:out=|export\([^,]+, )"(\w+)"', code))
    commanded = {
        name
        for document in DOCUMENTS
        for names in re.findall(r"(?:--out|-o) ([\w/]+)|prunebench export \S+ (\w+)", read(document))
        for name in names
    }
    assert "pruned" in commanded and forced and not forced & commanded
