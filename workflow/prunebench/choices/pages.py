"""Writes docs/methods.md, docs/suites.md and docs/python.md from the descriptions in plug-ins, catalogs and functions.

`make docs` runs this module.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from prunebench import registry
from prunebench.choices.api import python_page
from prunebench.choices.parameters import Parameter, parameters, spelled
from prunebench.config.schema import CATALOG, CATALOGS, SINGULAR
from prunebench.config.tasks import TasksEntry
from prunebench.config.values import Entry
from prunebench.storage.files import write_text

DOCS = Path("docs")
WRITTEN_BY = "<!-- Written by `make docs` from the plug-ins and config/catalog/: edit those. -->"

METHODS = """\
# Methods and allocators

A *method* turns the weights of a block into pruned weights, an *allocator* decides how sparse each matrix is. Both go
by the name of their file in a grid (`{method: wanda, allocator: owl, sparsity: 0.5}`). A variant with other parameters
is an entry of `config/catalog/methods.yaml`, `config/catalog/allocators.yaml` or the config file itself:

```yaml
methods:
  wanda_down: {method: wanda, params: {rounding: down}}
  sparsegpt_as_published: {method: sparsegpt, preset: released}
```

Defaults are the preset `paper`: what the paper states. Preset `released` is what the published code does where that
differs. *Depends on* names the axes of a cell that can change the result; the others are fixed, so listing several
values of them costs nothing. *Collects* names the statistics of inputs that the engine sums up over the calibration
tokens: `site_norm`, the squared norm of each input channel, and `hessian`, the Gram matrix of the inputs. A method that
does not depend on `calibration` runs nothing forward.

Every method prunes the same matrices: all linears in the decoder blocks, block by block. The inputs of a block are
those that the pruned blocks before it give; inside a block all statistics come from its unpruned weights. Of equal
scores the one with the lower index goes first.

## Methods
"""
ALLOCATORS = """\
## Allocators

Allocators combine with all methods that depend on `allocator`, at unstructured patterns. An n:m pattern fixes the
sparsity of every linear: there only `uniform` applies, and other cells are skipped, with that reason in the tables. An
allocation is in [0, 1] for each linear, and its mean, weighted by parameters, is the target; anything else fails the
cell.

An entry of the catalog can say `layers: first_half`: the allocator then sees only the first L/2 (rounded down) of the L
blocks and meets the target there. The other blocks stay as they are, so of the whole model about half as many weights
are zero. With `uniform` underneath this works for n:m patterns too.
"""
SUITES = """\
# Suites

A *suite* is a named evaluation. Its tasks share one process, one model and one JSON. Plug-ins say how to evaluate;
entries of `config/catalog/suites.yaml`, or of the config file itself, give them a name and the whole protocol:

```yaml
suites:
  ppl_long:
    suite: perplexity
    params: {corpora: [wikipedia], seqlen: 2048, windows: 8}
```

## Kinds of evaluation
"""
TASKS = """\
## Bundles of tasks

The parameter `data` of `lm_eval` names a bundle: rows for tasks of lm-eval, from one source
(`config/catalog/tasks.yaml`). Prompts, choices and metrics come from the task file below `lm_eval/tasks` of the
installed lm-eval.
"""


def pages(catalog: Path = CATALOG) -> dict[str, str]:
    """Return the texts of the generated pages. The keys are file names below docs/."""
    methods = [METHODS, *_plugins("methods", catalog), ALLOCATORS, *_plugins("allocators", catalog)]
    suites = [SUITES, *_plugins("suites", catalog), TASKS, *_bundles(catalog)]
    return {
        name: "\n\n".join([WRITTEN_BY, *(part.strip() for part in parts if part)]) + "\n"
        for name, parts in {"methods.md": methods, "suites.md": suites, "python.md": python_page()}.items()
    }


def _plugins(kind: str, catalog: Path) -> Iterator[str]:
    """Yield the parts of a section for each plug-in of `kind`."""
    entries = _entries(kind, catalog)
    for name in sorted({*registry.names(kind)} - {*registry.own(kind)}):
        plugin = registry.load(kind, name)
        yield f"### {plugin.title}: `{name}`"
        yield inspect.getdoc(plugin) or ""
        yield "\n".join(f"- {label}: {text}" for label, text in _facts(kind, plugin).items() if text)
        yield _table(["parameter", "type", "default", "meaning"], map(_described, parameters(plugin)))
        changes = {preset: change for preset, change in plugin.presets.items() if change}
        yield _table(["preset", "parameters"], ([f"`{preset}`", _flow(change)] for preset, change in changes.items()))
        instances = [key for key, entry in entries.items() if getattr(entry, SINGULAR[kind]) == name]
        yield _table(["in the catalog", "is"], ([f"`{key}`", _instance(entries[key])] for key in instances))


def _facts(kind: str, plugin: Any) -> dict[str, str]:
    return {
        "Reference": plugin.reference,
        "Depends on": ", ".join(f"`{axis}`" for axis in sorted(plugin.uses)),
        "Collects": ", ".join(f"`{statistic}`" for statistic in sorted(getattr(plugin, "needs", ()))),
        "Versions in its specs": ", ".join(getattr(plugin, "libraries", ())),
        "Source": f"[{kind}/{plugin.name}.py](../workflow/prunebench/{kind}/{plugin.name}.py)",
    }


def _bundles(catalog: Path) -> Iterator[str]:
    """Yield the parts of a section for each bundle of tasks."""
    for name, entry in _entries("tasks", catalog).items():
        assert isinstance(entry, TasksEntry)
        yield f"### {entry.title}: `{name}`\n\nRows {entry.source.origin}."
        rows = (
            [f"`{task}`", data.title or task, f"`{data.stock or data.images}`", ", ".join(data.rows)]
            for task, data in entry.tasks.items()
        )
        yield _table(["task", "in tables", "task file", "splits"], rows)


def _entries(kind: str, catalog: Path) -> dict[str, Entry]:
    stored = yaml.safe_load((catalog / f"{kind}.yaml").read_text(encoding="utf-8")) or {}
    return {name: CATALOGS[kind].model_validate(entry) for name, entry in stored.items()}


def _instance(entry: Entry) -> str:
    """Describe the settings of a catalog entry in words."""
    settings = entry.model_dump(mode="json", exclude_defaults=True)
    title, preset = settings.pop("title", None), settings.pop("preset", None)
    mappings = [_flow(settings[key]) for key in ("params", "compute") if key in settings]
    layers = f"layers `{settings['layers']}`" if "layers" in settings else None
    return "; ".join(filter(None, [title, preset and f"preset `{preset}`", layers, *mappings]))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table, or an empty text if it has no rows."""
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *lines]) if lines else ""


def _described(parameter: Parameter) -> list[str]:
    name, kind, default, meaning = parameter
    return [f"`{name}`", kind, default if default == "required" else f"`{default}`", meaning]


def _flow(value: Mapping[str, Any]) -> str:
    return f"`{spelled(dict(value))}`"


if __name__ == "__main__":
    for file, text in pages().items():
        write_text(DOCS / file, text)
