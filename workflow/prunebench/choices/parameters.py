"""Describes the parameters of a plug-in for `prunebench methods NAME` and docs/methods.md."""

import ast
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from prunebench.plugin import Plugin

_LIMITS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


class Parameter(NamedTuple):
    """One parameter of a plug-in, in words."""

    name: str
    type: str
    default: str
    meaning: str


def parameters(plugin: type[Plugin]) -> list[Parameter]:
    """List what a config may set under `params`. A parameter without a default has the default text "required"."""
    schema, strings = plugin.Params.model_json_schema(), _strings(plugin.Params)
    required = schema.get("required", ())
    return [
        Parameter(
            name,
            _type(field),
            "required" if name in required else spelled(field.get("default")),
            field.get("description") or strings.get(name, ""),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def spelled(value: Any) -> str:
    """Write `value` as YAML in one line."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("...\n").strip()


def _type(schema: Mapping[str, Any]) -> str:
    """Describe a JSON schema in a few words, such as 'integer > 0, or null'."""
    if "anyOf" in schema:
        return ", or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    limits = (f"{sign} {schema[key]}" for key, sign in _LIMITS.items() if key in schema)
    return " ".join([str(schema.get("type", "any")), *limits])


def _strings(model: type) -> dict[str, str]:
    """Return the string below each field of `model`, with the field's name as key.

    The strings are read from its file, because `use_attribute_docstrings` of pydantic reads all modules, torch too.
    """
    body = ast.parse(Path(str(sys.modules[model.__module__].__file__)).read_text(encoding="utf-8")).body
    for name in model.__qualname__.split("."):
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        ast.unparse(field.target): " ".join(str(text.value.value).split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
