"""The form of a config file, and the functions that read it and complete it with the catalogs.

This module does not import torch, because every cluster job parses the Snakefile, and with it this module.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, RootModel

from prunebench import registry
from prunebench.config.entries import (
    AllocatorEntry,
    CorpusEntry,
    MethodEntry,
    ModelEntry,
    PluginEntry,
    SearchEntry,
    SuiteEntry,
)
from prunebench.config.explain import validate
from prunebench.config.in_place import model_name
from prunebench.config.packaged import layers, resource
from prunebench.config.reading import read_yaml
from prunebench.config.sources import GeneratedSource, PairsSource
from prunebench.config.tasks import TasksEntry
from prunebench.config.values import Calibration, Compute, Entry, Line, Seed, Slug, Sparsity
from prunebench.errors import PrunebenchError
from prunebench.names import brief
from prunebench.patterns import parse_pattern
from prunebench.plugin import Search

CONFIG = Path("config/config.yaml")
"""The config file that snakemake reads without --configfile."""
STUDIES = Path("config/studies")
"""The directory of further config files that come with the package."""
CATALOG = Path("config/catalog")
"""The directory of the catalogs, in the package and in a project, with a YAML file for each kind of entry."""

_TEMPLATE = "__use_yte__"
"""A key that Snakemake takes out of a config before it runs the Python in it."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _checked_pattern(value: Any) -> str:
    if isinstance(value, int) or ":" in str(value):
        # YAML takes 2:4 for a clock time.
        keep, group = divmod(value, 60) if isinstance(value, int) else (0, 0)
        read = f"; YAML reads {keep}:{group} as {value}, a number of base 60" if 0 < keep < group else ""
        raise ValueError(f"n:m patterns are written 2of4, for 2 kept of every 4 inputs{read}")
    return str(parse_pattern(str(value)))


Item = TypeVar("Item")
OneOrMore = Annotated[
    list[Item], BeforeValidator(_as_list, json_schema_input_type=Item | list[Item]), Field(min_length=1)
]
Model = Annotated[Slug, BeforeValidator(model_name)]
PatternText = Annotated[str, BeforeValidator(_checked_pattern)]


def _asked_tables() -> dict[str, str]:
    """The names of the tables that a study may ask for, with a short description of each."""
    kinds = {name: registry.load("tables", name) for name in registry.names("tables")}
    return {name: kind.asked for name, kind in kinds.items() if kind.asked}


def _checked_table(name: str) -> str:
    if name not in (known := _asked_tables()):
        *others, last = map(repr, known)
        raise ValueError(f"must be {', '.join(others)} or {last} (got {name!r}){registry.did_you_mean(name, known)}")
    return name


def _list_tables(schema: dict[str, Any]) -> None:
    schema["enum"] = list(_asked_tables())


def _describe_tables(schema: dict[str, Any]) -> None:
    words = "; ".join(f"{name}: {text}" for name, text in _asked_tables().items())
    schema["description"] = f"tables beside those that belong to the suites. {words}"


AskedTable = Annotated[str, AfterValidator(_checked_table), Field(json_schema_extra=_list_tables)]


class Axes(Entry):
    """The axes of a grid. Each takes one value or a list of values; a row means all combinations of its values."""

    model: OneOrMore[Model] | None = Field(
        None,
        description="names of models in the catalog, or models in place, as {hub: owner/name} or {path: directory}",
    )
    method: OneOrMore[Slug] | None = Field(None, description="names of methods")
    allocator: OneOrMore[Slug] | None = Field(None, description="names of allocators; default: uniform")
    pattern: OneOrMore[PatternText] | None = Field(
        None, description="unstructured (default), or n:m such as 2of4, which keeps 2 of every 4 inputs"
    )
    sparsity: OneOrMore[Sparsity] | None = Field(None, description="fraction of zeros; an n:m pattern fixes it")
    calibration: OneOrMore[Calibration] | None = Field(
        None, description="calibration tokens: CORPUS_SAMPLESxSEQLEN, such as c4_type_16x512"
    )
    seed: OneOrMore[Seed] | None = Field(None, description="seeds; default: 0")


class Row(Axes):
    """One row of a grid."""

    suites: OneOrMore[Slug] | None = Field(None, description="suites for the cells of this row, instead of the study's")


class Study(Entry):
    """A named grid of cells, and the suites that evaluate the cells."""

    title: Literal[""] | Line = ""
    suites: OneOrMore[Slug]
    defaults: Axes = Field(default_factory=Axes, description="values of the axes that a row of the grid does not give")
    grid: list[Row] = Field(min_length=1)
    exclude: list[Axes] = Field(
        default_factory=list, description="a cell that matches all axes of a row here is left out"
    )
    tables: OneOrMore[AskedTable] = Field(default_factory=list, json_schema_extra=_describe_tables)
    searches: OneOrMore[Slug] = Field(
        default_factory=list, description="names of searches in the catalog; figures show how they went"
    )
    published: OneOrMore[Line] = Field(
        default_factory=list, description="papers whose values stand beside ours; default: all papers with values"
    )


class Config(Entry):
    """A whole config file. The catalog sections (models, corpora, ...) add entries to those of config/catalog/."""

    model_config = ConfigDict(json_schema_extra={"required": ["studies"]})

    studies: dict[Slug, Study] = Field(default_factory=dict, json_schema_extra={"minProperties": 1})
    """Commands on one model need catalogs only, and leave this empty. `load_plan` refuses a config without studies."""
    compute: Compute = Field(default_factory=Compute)
    keep_weights: Literal["packed", "mask", "none"] = Field(
        "packed",
        description="what is kept of a cell's weights after its evaluations. packed: all weights; mask: which are "
        "zero; none: nothing",
    )
    max_cells: int = Field(
        20_000,
        gt=0,
        le=10_000_000,
        description="the greatest number of cells that the studies may have before 'exclude'; a plan of 10,000 cells "
        "takes about a minute",
    )
    models: dict[Slug, ModelEntry] = Field(default_factory=dict)
    corpora: dict[Slug, CorpusEntry] = Field(default_factory=dict)
    tasks: dict[Slug, TasksEntry] = Field(default_factory=dict)
    methods: dict[Slug, MethodEntry] = Field(default_factory=dict)
    allocators: dict[Slug, AllocatorEntry] = Field(default_factory=dict)
    suites: dict[Slug, SuiteEntry] = Field(default_factory=dict)
    searches: dict[Slug, SearchEntry] = Field(default_factory=dict)

    def seeds(self, search: Search) -> list[int]:
        """The seeds whose results `search` means."""
        return self.searches[search.name].seeds if search.seed is None else [search.seed]

    def text_of(self, calibration: str) -> str | None:
        """The corpus that `calibration` reads: the corpus in its name, or the prompts of a generated one, if any.

        Pairs of images and text are of no corpus: see `pairs_of`.
        """
        corpus = calibration_corpus(calibration)
        source = self.corpora[corpus].source
        if isinstance(source, PairsSource):
            return None
        return source.prompts if isinstance(source, GeneratedSource) else corpus

    def windows_written(self, calibration: str) -> int:
        """The number of windows of `calibration` that the model writes itself; 0 if its text is drawn or has images."""
        corpus, samples, _ = calibration_parts(calibration)
        source = self.corpora[corpus].source
        return source.written(samples) if isinstance(source, GeneratedSource) else 0

    def calibrated_from(self, calibration: str) -> str | None:
        """The asset that `calibration` is drawn from, as in corpora/c4_type; None if the model writes all of it."""
        pairs, text = self.pairs_of(calibration), self.text_of(calibration)
        return f"tasks/{pairs.tasks}" if pairs else f"corpora/{text}" if text else None

    def pairs_of(self, calibration: str) -> PairsSource | None:
        """The pairs of images and text that `calibration` reads, if any."""
        source = self.corpora[calibration_corpus(calibration)].source
        return source if isinstance(source, PairsSource) else None


CATALOGS: dict[str, type[Entry]] = {
    "models": ModelEntry,
    "corpora": CorpusEntry,
    "tasks": TasksEntry,
    "methods": MethodEntry,
    "allocators": AllocatorEntry,
    "suites": SuiteEntry,
    "searches": SearchEntry,
}

SINGULAR = {kind: kind.removesuffix("s") for kind in CATALOGS}
SINGULAR |= {"corpora": "corpus", "tasks": "bundle of tasks", "searches": "search"}


def with_catalogs(
    raw: dict[str, Any], file: str = "config/config.yaml", catalog: Path = CATALOG
) -> tuple[Config, dict[tuple[str, str], str]]:
    """The config `raw` with the entries of the catalogs added, and the file of each entry by (kind, name).

    A project's catalog in the working directory adds entries to the package's catalog and replaces entries of equal
    names; an absolute `catalog` is the only one. Names in the config are not checked. A plug-in that needs no
    parameters gets an entry under its own name, so that it can be used as soon as its file is there. Raises
    PrunebenchError for mistakes in the form of a file.
    """
    config = validate(Config, raw, file)
    merged: dict[str, dict[str, Any]] = {}
    files: dict[tuple[str, str], str] = {}
    for kind, entry in CATALOGS.items():
        form = RootModel[dict[Slug, entry]]  # type: ignore[valid-type]
        stored = {str(path): validate(form, read_yaml(path), path).root for path in layers(catalog / f"{kind}.yaml")}
        merged[kind] = {}
        for origin, entries in (*stored.items(), (file, getattr(config, kind))):
            merged[kind] |= entries
            files |= {(kind, name): origin for name in entries}
    for kind in ("methods", "allocators", "suites"):
        bare = {name: CATALOGS[kind].model_validate({SINGULAR[kind]: name}) for name in registry.ready(kind)}
        for name in {*registry.own(kind)} & merged[kind].keys():
            if getattr(merged[kind][name], SINGULAR[kind]) != name:
                raise PrunebenchError(
                    f"{registry.place(kind, name)}: {files[kind, name]} has an entry of this name for another "
                    f"{SINGULAR[kind]}, so rename this file and its class"
                )
        merged[kind] = bare | merged[kind]
    return config.model_copy(update=merged), files


def read_config(file: Path) -> dict[str, Any]:
    """Parse the config `file`, whose keys are not checked.

    A file that the project in the working directory does not have is read from the package (config/config.yaml, the
    studies). Raises PrunebenchError if it is in neither, or unfit.
    """
    path = resource(file)
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that is too long
        raise PrunebenchError(
            f"there is no {brief(str(file.absolute()))}: run this where you run snakemake, or name a config with "
            "--configfile"
        )
    raw: dict[str, Any] = read_yaml(path)
    if isinstance(raw, dict) and _TEMPLATE in raw:
        raise PrunebenchError(f"{file}: {_TEMPLATE!r} has Snakemake run Python from a config: write the values out")
    return raw


def configured(kind: str, entry: Any) -> Any:
    """The plug-in with its parameters that `entry` of the catalog `kind` (methods, allocators or suites) describes."""
    plugin = registry.load(kind, getattr(entry, kind.removesuffix("s")))
    preset = entry.preset if isinstance(entry, PluginEntry) else "paper"
    return plugin(plugin.configure(preset, entry.params))


def calibration_corpus(calibration: str) -> str:
    """The corpus in the name of a calibration set: c4_type for c4_type_16x512."""
    return calibration_parts(calibration)[0]


def calibration_parts(calibration: str) -> tuple[str, int, int]:
    """The parts (corpus, samples, tokens per sample) of the name of a calibration set such as c4_type_16x512."""
    corpus, _, size = calibration.rpartition("_")
    samples, _, seqlen = size.partition("x")
    return corpus, int(samples), int(seqlen)


def json_schema() -> str:
    """The JSON schema of a config file, which editors use. It is the content of config/schema.json."""
    return json.dumps(Config.model_json_schema(), indent=1, sort_keys=True) + "\n"
