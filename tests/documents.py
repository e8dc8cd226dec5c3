"""The project's documents as tests read them: fenced blocks, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"{folder}/README.md" for folder in ("config", "results")),
    *(f"docs/{path.name}" for path in sorted(REPOSITORY.glob("docs/*.md"))),
)

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/.-]+\.(?:py|smk))`[^`]*:\n*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int
    """The line of the document in which the text of the block begins."""
    file: str | None
    """The file of code that it shows, if the sentence before it ends in the file's name and a colon."""


@dataclass(frozen=True)
class Command:
    """One line of an `sh` block; a backslash at its end joins it with the next."""

    text: str
    """The command as the document writes it."""

    @property
    def words(self) -> list[str]:
        """The line as the shell splits it, without a comment."""
        return shlex.split(self.text, comments=True)

    @property
    def exit_code(self) -> int:
        """0, or what the comment says, as in `# exits 1: a cell has failed`."""
        stated = re.search(r"\bexits (\d+)\b", self._comment)
        return int(stated[1]) if stated else 0

    @property
    def endless(self) -> bool:
        """Whether the comment says that it runs until Ctrl-C."""
        return "Ctrl-C" in self._comment

    @property
    def _comment(self) -> str:
        return self.text.rpartition(" # ")[2] if " # " in self.text else ""


def read(document: str) -> str:
    """The text of a document."""
    return (REPOSITORY / document).read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document that name their language, in their order."""
    for found in _BLOCK.finditer(text):
        file = _FILE.search(text[: found.start()])
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1, file and file[1])


def commands(block: Block) -> list[Command]:
    """The commands of an `sh` block."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [command for command in map(Command, lines) if command.words]
