"""Makes texts inert: as Markdown no text becomes markup, and in a spreadsheet no text becomes a formula."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The start of a text that a spreadsheet takes for a formula, or that `csv_text` has made from one."""
_NUMBER = re.compile(r"[+-]?(?:[0-9][0-9.,]*(?:e[+-]?[0-9]+)?%?(?: ± [0-9.,e+-]+%?)?)?")
_START = re.compile(r"^([0-9]*)([.)](?=\s)|[+-](?=[\s+-])|[#>=~])")
"""The start of a line that Markdown may take for a heading, a quotation, a list or a rule."""


def markdown(text: str) -> str:
    """Escape `text` so that Markdown shows it as it is on one line: no table cell, tag, link, image or code begins."""
    line = re.sub(r"([\\|`*\[\]])", r"\\\1", " ".join(text.split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;")
    line = line.replace("://", "&#58;//").replace("www.", "www&#46;")  # GitHub makes links of plain addresses
    return line if _NUMBER.fullmatch(line) else _START.sub(r"\1\\\2", line)


def csv_text(text: str) -> str:
    """Put an apostrophe in front of `text` if a spreadsheet would take it for a formula. Numbers stay as they are."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv(text: str) -> str:
    """The text from which `csv_text` made `text`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
