"""Reads YAML files of users in bounded time and memory, and refuses what YAML would accept in silence.

PyYAML keeps the last of two equal keys, crashes where brackets are nested too deeply, and follows references
(`&name`, `*name`) to any size. This module looks at the events of the parser and at its nodes before it builds values.
"""

import math
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from prunebench.errors import PrunebenchError
from prunebench.names import brief, unseen

LONGEST = 4 << 20
"""The greatest size of a file, in bytes."""
DEEPEST = 30
"""The greatest number of lists and mappings inside each other."""
MOST = 200_000
"""The greatest number of values, where those behind a reference (`*name`) count each time."""
LARGEST = 2**63
"""Whole numbers from here on are refused, as libraries of arrays cannot hold them."""

_TOO_DEEP = f"more than {DEEPEST} lists or mappings are inside each other: write it flatter"

# Every cluster job reads all catalogs, so the faster parser in C is used where PyYAML has it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Mistake(Exception):
    """A mistake in a file, with the line (from 1 on) if there is one."""

    def __init__(self, text: str, node: Any = None) -> None:
        super().__init__(text)
        self.line = None if node is None else node.start_mark.line + 1


def read_yaml(path: Path) -> Any:
    """Parse the YAML (or JSON) file at `path`; an empty file is an empty mapping.

    Raises PrunebenchError, which names the line, if it is no regular file of UTF-8 text, not YAML, too large or nested
    too deeply, or if it has a key twice, a reference into itself, or a number that is not finite.
    """
    text = _text(path)
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return {}
            _check_nodes(loader, node)
            value = loader.construct_document(node)
            return {} if value is None else value
        finally:
            loader.dispose()
    except _Mistake as mistake:
        raise PrunebenchError(f"{path}{_line(mistake.line)}: {mistake}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = None if mark is None else mark.line + 1
        raise PrunebenchError(f"{path}{_line(line)}: this is not valid YAML: {brief(str(problem))}") from None


def _line(number: int | None) -> str:
    return "" if number is None else f", line {number}"


def _text(path: Path) -> str:
    """The text of a file. Raises PrunebenchError unless it is a regular file of UTF-8 text of a bounded size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PrunebenchError(f"{brief(str(path))} is no regular file: name a YAML file")
        if status.st_size > LONGEST:
            raise PrunebenchError(
                f"{path} has {status.st_size} bytes, more than the {LONGEST} that a config or catalog may have: is it "
                "the right file?"
            )
        content = path.read_bytes()
    except OSError as error:
        raise PrunebenchError(f"{brief(str(path))} cannot be read: {error.strerror}. Name a YAML file") from None
    except ValueError:
        raise PrunebenchError(f"{brief(str(path))} cannot be the name of a file: name a YAML file") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PrunebenchError(
            f"{path}, line {line}: this is not UTF-8 text ({error.reason}): save it as UTF-8"
        ) from None
    for number, line_text in enumerate(text.split("\n"), start=1):
        character = unseen(line_text.replace("\t", "").replace("\r", ""))
        if character is not None:
            raise PrunebenchError(f"{path}, line {number}: the character {character!a} may not stand here: delete it")
    return text


def _check_events(text: str) -> None:
    """Raise _Mistake if there is too much in `text`, or a reference to a value that nothing before it names.

    The parser works event by event, and stops where this stops.
    """
    depth = documents = 0
    anchors: set[str] = set()
    for count, event in enumerate(yaml.parse(text, _Loader)):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Mistake("a second YAML document ('---') begins here: write one document", event)
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _Mistake(_TOO_DEEP, event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
            name = brief(str(event.anchor), 80)
            raise _Mistake(
                f"*{name} refers to a value that is not there: the line that defines it (&{name}) was deleted, or "
                f"comes later. Write &{name} and the value here",
                event,
            )
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.anchor:
            anchors.add(event.anchor)
        if count > MOST:
            raise _Mistake(f"there are more than {MOST} values: split the file", event)


def _check_nodes(loader: Any, root: Node) -> None:
    """Raise _Mistake for a key that stands twice, references into themselves or of too many values, and bad numbers."""
    # References lead to earlier nodes, whose sizes are known, so this function calls itself DEEPEST times at most.
    sizes: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def size(node: Node) -> tuple[int, int]:
        """The number of values in `node`, and of the lists and mappings inside each other."""
        key = id(node)
        if key in open_nodes:
            raise _Mistake("a reference (*name) leads into the value that it stands in: write the value out", node)
        if key not in sizes:
            open_nodes.add(key)
            inside = [size(child) for child in _children(loader, node)]
            open_nodes.remove(key)
            count, depth = 1 + sum(count for count, _ in inside), 1 + max((depth for _, depth in inside), default=0)
            if count > MOST:
                raise _Mistake(f"with its references (*name) this has more than {MOST} values: write less", node)
            if depth > DEEPEST + 1:
                raise _Mistake(_TOO_DEEP, node)
            sizes[key] = count, depth
        return sizes[key]

    size(root)


def _children(loader: Any, node: Node) -> list[Node]:
    """The nodes directly inside `node`. Raises _Mistake for a key that stands twice, and for a value that is no value.

    A key of a merged mapping (`<<: *name`) may stand again beside it, which is what merging is for.
    """
    if isinstance(node, SequenceNode):
        return list(node.value)
    if isinstance(node, MappingNode):
        lines: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise _Mistake("a list or mapping is no key: write a text", key)
            name = "<<" if key.tag == "tag:yaml.org,2002:merge" else _scalar(loader, key)
            if name in lines:
                raise _Mistake(
                    f"the key {brief(repr(name), 80)} stands here again, after line {lines[name]}: delete one of them",
                    key,
                )
            lines[name] = key.start_mark.line + 1
        return [part for pair in node.value for part in pair]
    _scalar(loader, node)
    return []


def _scalar(loader: Any, node: Node) -> Any:
    """The value of a scalar. Raises _Mistake for a number or date that is none, and for infinity and NaN."""
    if node.tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"):
        return node.value
    try:
        value = loader.construct_object(node)
    except (ValueError, OverflowError, TypeError, IndexError, KeyError):
        raise _Mistake(
            f"{brief(node.value, 80)} looks like a number or date, but is none: put it into quotes", node
        ) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise _Mistake(f"{brief(node.value, 80)} is not a finite number: write a number", node)
    if isinstance(value, int) and not -LARGEST < value < LARGEST:
        raise _Mistake(f"the number {brief(node.value, 40)} is too large: write a smaller one", node)
    return value
