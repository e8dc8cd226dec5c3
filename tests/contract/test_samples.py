"""The docstring of every method, allocator and suite holds a sample of a config, and the sample is valid."""

import inspect

import pytest
import yaml

from prunebench import registry
from prunebench.config.schema import CATALOGS, Row, configured

PLUGINS = [(kind, name) for kind in ("methods", "allocators", "suites") for name in registry.names(kind)]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_sample_in_the_docstring_is_valid(kind: str, name: str) -> None:
    sample = yaml.safe_load((inspect.getdoc(registry.load(kind, name)) or "").split("\n\n")[1])
    axis = kind.removesuffix("s")
    plugins = []
    for entry in sample.get(kind, {}).values():
        plugins.append(entry[axis])
        configured(kind, CATALOGS[kind].model_validate(entry))
    for row in sample.get("grid", []):
        plugins.append(row[axis])
        Row.model_validate(row)
    assert plugins == [name]
