"""Lists the names that a config can use: plug-ins from their files, and named instances from the catalogs."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from prunebench import registry
from prunebench.choices.parameters import parameters, spelled
from prunebench.config.entries import ModelEntry
from prunebench.config.packaged import label, resource
from prunebench.config.schema import CONFIG, SINGULAR, configured, read_config, with_catalogs
from prunebench.errors import PrunebenchError


class Shelf:
    """All methods, allocators, suites or models (`kind`) that a config file can name.

    Outside a project it lists the entries that come with the package, which `prunebench prune` knows as well.
    """

    def __init__(self, kind: str, configfile: Path = CONFIG) -> None:
        self._outside = configfile == CONFIG and not CONFIG.exists()
        config, files = with_catalogs(read_config(configfile), label(resource(configfile)))
        self._kind = kind
        self._entries: dict[str, Any] = getattr(config, kind)
        self._files = {name: file for (catalog, name), file in files.items() if catalog == kind}
        """The file of each entry. An entry that stands for a plug-in without required parameters has no file."""

    def listing(self) -> Table:
        """Make a table with a line for each name."""
        note = f"There is no {CONFIG} here: these come with the package." if self._outside else None
        table = Table(
            Column("name", no_wrap=True), "title", "what it is", "from", box=None, caption=note, caption_justify="left"
        )
        for name in self._names:
            try:
                line = self._line(name)
            except PrunebenchError as error:  # a broken plug-in, which must not hide the others
                line = ("", str(error))
            table.add_row(name, *map(Text, line), Path(self._file(name)).name)
        return table

    def detail(self, name: str) -> Group:
        """Show everything about `name`. Raises PrunebenchError with the nearest name if it is unknown."""
        if name not in self._names:
            hint = registry.did_you_mean(name, self._names)
            raise PrunebenchError(f"unknown {SINGULAR[self._kind]} {name!r}{hint}")
        head = Text.assemble((name, "bold"), f"\nfrom {self._file(name)}\n")
        entry = self._entries.get(name)
        if isinstance(entry, ModelEntry):
            return Group(head, Text(yaml.safe_dump(entry.model_dump(mode="json"), sort_keys=False)))
        return Group(head, *self._plugin(name), *self._parameters(name))

    @property
    def _names(self) -> list[str]:
        return sorted({*self._entries, *(registry.names(self._kind) if self._kind != "models" else ())})

    def _line(self, name: str) -> tuple[str, str]:
        """Return the title of `name`, and a description in one line."""
        entry = self._entries.get(name)
        if isinstance(entry, ModelEntry):
            return entry.title, f"{entry.family}, {entry.source.origin}"
        plugin = self._class(name)
        description = (inspect.getdoc(plugin) or "").partition("\n")[0]
        if entry is None:
            description = (
                f"{description} Needs an entry of its own, with {', '.join(registry.required(self._kind, name))}."
            )
        elif name in self._files:
            preset = f" {entry.preset}" if getattr(entry, "preset", "paper") != "paper" else ""
            compute = entry.compute.model_dump() if getattr(entry, "compute", None) else {}
            layers = {"layers": entry.layers} if getattr(entry, "layers", "all") != "all" else {}
            description = f"{plugin.name}{preset} {_words({**entry.params, **layers, **compute})}"
        return getattr(entry, "title", None) or plugin.title, description

    def _plugin(self, name: str) -> Iterator[RenderableType]:
        """Yield the docstring of the plug-in, facts about it, and its named instances."""
        plugin = self._class(name)
        for paragraph in (inspect.getdoc(plugin) or "").split("\n\n"):
            yield Text(f"{paragraph if paragraph.startswith('    ') else ' '.join(paragraph.split())}\n")
        instances = [entry for entry in self._files if self._plugin_of(entry) == plugin.name]
        facts = {
            "title": plugin.title,
            "paper": plugin.reference,
            "layers": getattr(self._entries.get(name), "layers", ""),
            "looks at": ", ".join(sorted(plugin.uses)),
            "collects": ", ".join(sorted(getattr(plugin, "needs", ()))),
            "plug-in": self._place(plugin.name),
            "entries": ", ".join(instances),
            **{f"preset {preset}": _words(params) or "the defaults" for preset, params in plugin.presets.items()},
        }
        table = Table(show_header=False, box=None)
        for fact, text in facts.items():
            if text:
                table.add_row(fact, Text(text))
        yield table

    def _parameters(self, name: str) -> Iterator[Table]:
        fields = parameters(self._class(name))
        if not fields:
            return
        entry = self._entries.get(name)
        values = configured(self._kind, entry).params.model_dump() if entry else {}
        table = Table("parameter", "type", "default", "here", "meaning")
        for key, kind, default, meaning in fields:
            value = spelled(values[key]) if key in values else ""
            table.add_row(*map(Text, (key, kind, default, "" if value == default else value, meaning)))
        yield table

    def _class(self, name: str) -> Any:
        return registry.load(self._kind, self._plugin_of(name))

    def _plugin_of(self, name: str) -> str:
        """Return the name of the plug-in that `name` stands for."""
        entry = self._entries.get(name)
        return str(getattr(entry, SINGULAR[self._kind])) if entry else name

    def _file(self, name: str) -> str:
        return self._files.get(name) or self._place(name)

    def _place(self, plugin: str) -> str:
        return str(registry.place(self._kind, plugin))


def _words(params: dict[str, Any]) -> str:
    return ", ".join(
        f"{key}: {' '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in params.items()
    )
