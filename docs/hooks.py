"""Hooks of MkDocs: pages of the site that lie outside docs/, where GitHub and packages expect them."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "config/README.md": "config.md",
    "results/README.md": "results.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""The name on the site of each page that lies outside docs/, by its path in the repository."""
LINK = re.compile(
    r"(?P<code>^```.*?^```)"
    r"|(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)(?P<path>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)"
    r"|(?P<image>!\[[^\]]*\]\()(?P<picture>[^):\s]+)\)"
    r"|(?P<inline>`[^`\n]+`)",
    re.MULTILINE | re.DOTALL,
)
"""A link of a page, or a piece of code, in which nothing is a link."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of `markdown`, which are right in the repository, to the pages of the site.

    A link to a file that is no page, such as a source file, becomes its text. A link to nothing stays for MkDocs to
    complain about.
    """
    names = {name: source for source, name in PAGES.items()}
    origin = PurePosixPath(names.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def pointed(match: re.Match[str]) -> str:
        part = match.groupdict()
        if part["code"] or part["inline"]:
            return match[0]
        path, picture = part["path"], part["picture"]
        target = normpath(str(origin.parent / (picture or path or origin.name)))
        name = PAGES.get(target, relpath(target, "docs") if target.startswith("docs/") else None)
        if picture:
            return f"{part['image']}{name})" if name else match[0]
        if name and files.get_file_from_path(name):
            return f"[{part['text']}]({name}{part['anchor'] or ''})"
        return str(part["text"]) if (ROOT / target).exists() else match[0]

    return LINK.sub(pointed, markdown)
