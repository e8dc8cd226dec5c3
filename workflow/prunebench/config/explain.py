"""Checks the content of a file against a pydantic model, with errors that a user of the file understands.

The errors name the file, the key, the value and the nearest valid name.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prunebench import registry
from prunebench.config.values import CALIBRATION, PACKAGE, REPO, REVISION, SHA256, TASK, VERSION
from prunebench.errors import PrunebenchError
from prunebench.names import LONGEST_SLUG, SLUG, brief, slug

Model = TypeVar("Model", bound=BaseModel)

_IN_WORDS = {
    "string_type": "must be text",
    "string_pattern_mismatch": "has the wrong form",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "too_short": "must not be empty",
    "union_tag_invalid": "'kind' must be one of {expected_tags}",
    "union_tag_not_found": "'kind' is missing",
}
_FORMS = {
    SLUG: "must be lower-case letters, digits and '_', a letter or digit first, and a digit after each '.'",
    TASK: "must be letters, digits, '_' and '-'",
    PACKAGE: "must be the name of a package: letters, digits, '.', '_' and '-'",
    VERSION: "must be the version of a package, such as 1.2.0",
    SHA256: "must be 64 hexadecimal digits",
    REPO: "must be OWNER/NAME",
    REVISION: "must be a commit, branch, tag or refs/...",
    CALIBRATION: "must be of the form CORPUS_SAMPLESxSEQLEN, as in c4_type_16x512, with a SEQLEN of 2 or more",
}


def validate(model: type[Model], raw: Any, file: str | Path) -> Model:
    """Return `raw`, the content of `file`, as an instance of `model`.

    Raises PrunebenchError, which names file, key, value and the nearest valid key.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise PrunebenchError("\n".join(f"{file}: {line}" for line in error_lines(error, model, raw))) from None


def error_lines(error: ValidationError, model: type[BaseModel], raw: Any, prefix: str = "") -> list[str]:
    """One line for each mistake that pydantic found in `raw`, in words that a user of the config file understands.

    `prefix` is written in front of every key: the place of `raw` in the file, or the beginning of an option's name.
    """
    lines = []
    for mistake in error.errors(include_url=False):
        location, parent = _written(mistake, raw)
        key = prefix + _dotted(location) if location else prefix.rstrip(". ")
        if mistake["type"] == "extra_forbidden":
            hint = registry.did_you_mean(str(location[-1]), _sibling_keys(model, location, parent))
            lines.append(f"unknown key {key!r}{hint}")
        elif mistake["type"] == "missing":
            lines.append(f"{key!r} is missing")
        else:
            lines.append(f"{key}: {_in_words(mistake)}" if key else _in_words(mistake))
    return list(dict.fromkeys(lines))


def _in_words(mistake: ErrorDetails) -> str:
    """Say what is wrong with a value, and name the value and, for one of a list, the nearest valid value."""
    value, context = mistake["input"], mistake.get("ctx", {})
    if mistake["type"] == "value_error":
        text = str(context["error"])
        return brief(text) if repr(value) in text else f"{brief(text)} (got {brief(repr(value))})"
    text = mistake["msg"].replace("Input should be", "must be")
    if mistake["type"] in _IN_WORDS:
        text = _FORMS.get(context.get("pattern", ""), _IN_WORDS[mistake["type"]].format(**context))
    hint = ""
    if mistake["type"] == "literal_error" and isinstance(value, str):
        hint = registry.did_you_mean(value, context["expected"].split("'")[1::2], list_all=False)
    elif isinstance(value, str) and context.get("pattern") in (SLUG, CALIBRATION):
        hint = _respelled(value, context["pattern"])
    return f"{text} (got {brief(repr(value))}){hint}"


def _respelled(name: str, pattern: str) -> str:
    """Write the end of a message: the spelling of `name` that fits `pattern`; an empty text if `name` has none."""
    spelling = slug(name)
    fits = any(map(str.isalnum, name)) and re.fullmatch(pattern, spelling)
    return f": did you mean {spelling!r}?" if fits else ""


def _written(mistake: ErrorDetails, raw: Any) -> tuple[list[int | str], Any]:
    """The location of a mistake in the file, and the value that holds the last part of the location.

    Pydantic adds two kinds of parts that the file does not have: the branch of a type that it tried, and an index where
    the file has a single value in place of a list. They are left out here.
    """
    location: list[int | str] = []
    node: Any = raw
    parent, tagged = raw, False
    for part in mistake["loc"]:
        if isinstance(node, dict) and part == node.get("kind") and not tagged:
            tagged = True
        elif part in (node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()):
            location.append(part)
            node, parent, tagged = node[part], node, False
    if mistake["type"] == "missing":
        location.append(mistake["loc"][-1])
    return location, parent


def _dotted(location: list[int | str]) -> str:
    text = ""
    for part in location:
        name = f"[{part}]" if isinstance(part, int) else brief(part, LONGEST_SLUG)
        text += name if not text or isinstance(part, int) else f".{name}"
    return text


def _sibling_keys(model: type[BaseModel], location: list[int | str], siblings: dict[str, Any]) -> list[str]:
    """The keys that would have been valid at `location` beside `siblings`, read from the JSON schema of `model`."""
    root = model.model_json_schema()
    nodes = [root]
    for part in location[:-1]:
        nodes = [child for node in nodes for child in _children(root, node, part)]
    branches = [leaf.get("properties", {}) for node in nodes for leaf in _variants(root, node)]
    return sorted({key for branch in branches if _fits(branch, siblings) for key in branch})


def _fits(properties: dict[str, Any], values: dict[str, Any]) -> bool:
    """Whether `values` agree with the fixed values (`kind: path`) of a branch of a type with these properties."""
    return all(values.get(key, leaf["const"]) == leaf["const"] for key, leaf in properties.items() if "const" in leaf)


def _variants(root: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives that `node` of a JSON schema allows, with references resolved."""
    if "$ref" in node:
        return _variants(root, root["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    options = node.get("anyOf", []) + node.get("oneOf", [])
    return [leaf for option in options for leaf in _variants(root, option)] or [node]


def _children(root: dict[str, Any], node: dict[str, Any], part: int | str) -> list[dict[str, Any]]:
    """The nodes of a JSON schema that describe the value at the key or index `part` of `node`."""
    children = []
    for leaf in _variants(root, node):
        named = leaf.get("items") if isinstance(part, int) else leaf.get("properties", {}).get(part)
        children += [named, leaf.get("additionalProperties"), *leaf.get("patternProperties", {}).values()]
    return [child for child in children if isinstance(child, dict)]
