"""Lists the names that a config can use: plug-ins from their files, and named instances from the catalogs."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prunebench import registry
from prunebench.choices.parameters import parameters, spelled
from prunebench.config.entries import CorpusEntry, ModelEntry
from prunebench.config.packaged import ROOT, label, resource
from prunebench.config.schema import CONFIG, SINGULAR, configured, read_config, with_catalogs
from prunebench.errors import PrunebenchError
from prunebench.runtime.lines import aligned

PLUGGED = ("methods", "allocators", "suites")
"""The kinds whose names include the names of plug-ins."""
LEAST = 20
"""The smallest number of columns that a list has beside the names, however narrow the terminal is."""


class Shelf:
    """All methods, allocators, suites, models or corpora (`kind`) that a config file can name.

    Outside a project it lists the entries that come with the package, which `prunebench prune` knows as well.
    """

    def __init__(self, kind: str, configfile: Path = CONFIG) -> None:
        self._outside = configfile == CONFIG and not CONFIG.exists()
        self._config = label(resource(configfile))
        config, files = with_catalogs(read_config(configfile), self._config)
        self._kind = kind
        self._entries: dict[str, Any] = getattr(config, kind)
        self._files = {name: file for (catalog, name), file in files.items() if catalog == kind}
        """The file of each entry. An entry that stands for a plug-in without required parameters has no file."""

    def listing(self, width: int) -> Group:
        """Make a line for each name, which is cut at the end of a word to be at most `width` columns wide."""
        room = max(LEAST, width - max(map(len, self._names)) - len("  "))
        rows = [(Text(name, "bold"), shorten(self._said(name), room, placeholder=" …")) for name in self._names]
        more = f"prunebench {self._kind} NAME shows everything about one of them."
        note = f"There is no {CONFIG} here: these come with the package. " if self._outside else ""
        return Group(aligned(rows), Text(f"{note}{more}", "italic", no_wrap=False))

    def detail(self, name: str) -> Group:
        """Show everything about `name`. Raises PrunebenchError with the nearest name if it is unknown."""
        if name not in self._names:
            hint = registry.did_you_mean(name, self._names)
            raise PrunebenchError(f"unknown {SINGULAR[self._kind]} {name!r}{hint}")
        head = Text.assemble((name, "bold"), f"\nfrom {self._file(name)}\n")
        entry = self._entries.get(name)
        if isinstance(entry, ModelEntry | CorpusEntry):
            return Group(head, Text(yaml.safe_dump(entry.model_dump(mode="json"), sort_keys=False)))
        return Group(head, *self._plugin(name), *self._parameters(name))

    @property
    def _names(self) -> list[str]:
        return sorted({*self._entries, *(registry.names(self._kind) if self._kind in PLUGGED else ())})

    def _said(self, name: str) -> str:
        """Return the title of `name`, the file of an entry or a plug-in of the project, and what it is, in one line."""
        file = Path(self._file(name))
        own = str(file) == self._config or not file.resolve().is_relative_to(ROOT)
        try:
            title, description = self._line(name)
        except PrunebenchError as error:  # a broken plug-in, which must not hide the others
            return str(error)
        return f"{title}{f' ({file.name})' if own else ''}: {description}"

    def _line(self, name: str) -> tuple[str, str]:
        """Return the title of `name`, and what it is."""
        entry = self._entries.get(name)
        if isinstance(entry, ModelEntry):
            return entry.title, f"{entry.family}, {entry.source.origin}"
        if isinstance(entry, CorpusEntry):
            use = f" (for {entry.use} only)" if entry.use != "evaluation" else ""
            return entry.title, f"{entry.source.kind}, {entry.source.origin}{use}"
        plugin = self._class(name)
        description = (inspect.getdoc(plugin) or "").partition("\n")[0]
        if entry is None:
            description = (
                f"needs an entry of its own, with {', '.join(registry.required(self._kind, name))}. {description}"
            )
        elif name in self._files:
            preset = f", preset {entry.preset}" if getattr(entry, "preset", "paper") != "paper" else ""
            compute = entry.compute.model_dump() if getattr(entry, "compute", None) else {}
            layers = {"layers": entry.layers} if getattr(entry, "layers", "all") != "all" else {}
            settings = _words({**entry.params, **layers, **compute})
            description = f"{plugin.name}{preset}{settings and f', {settings}'}"
        return getattr(entry, "title", None) or plugin.title, description

    def _plugin(self, name: str) -> Iterator[RenderableType]:
        """Yield the docstring of the plug-in, facts about it, and its named instances."""
        plugin = self._class(name)
        for paragraph in (inspect.getdoc(plugin) or "").split("\n\n"):
            code = paragraph.startswith("    ")
            yield Text(f"{paragraph if code else ' '.join(paragraph.split())}\n", no_wrap=None if code else False)
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
        yield aligned([(fact, text) for fact, text in facts.items() if text])

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
