"""The configuration: what a config file may say, and the check that all names in it exist.

Imports no torch: every cluster job parses the Snakefile, and with it this module.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BeforeValidator, Field, RootModel, ValidationError

from prunebench import registry
from prunebench.allocators.base import Allocator, Search
from prunebench.assets.sources import local_path
from prunebench.catalog import (
    AllocatorEntry,
    Calibration,
    Compute,
    CorpusEntry,
    Entry,
    MethodEntry,
    ModelEntry,
    PathSource,
    PluginEntry,
    SearchEntry,
    Slug,
    Sparsity,
    SuiteEntry,
    TasksEntry,
    TrainedSource,
)
from prunebench.errors import PrunebenchError
from prunebench.patterns import parse_pattern
from prunebench.plugin import Parameters
from prunebench.published.values import load_values
from prunebench.validation import explain, validate

CONFIG = Path("config/config.yaml")
"""What snakemake reads without --configfile."""
CATALOG = Path("config/catalog")
ASKED = {"allocators": ("perplexity",), "gain": ("perplexity", "zeroshot")}
"""Tables that a study may ask for, and by the tables that suites give rise to, whose scores they show."""


# In C where PyYAML was built with it: every cluster job reads all catalogs.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _checked_pattern(value: Any) -> str:
    # YAML reads 2:4 as the number 124 (base 60, as in clock times).
    if isinstance(value, int) or ":" in str(value):
        raise ValueError("n:m patterns are written 2of4, for 2 kept of every 4 inputs")
    return str(parse_pattern(str(value)))


Item = TypeVar("Item")
OneOrMore = Annotated[
    list[Item], BeforeValidator(_as_list, json_schema_input_type=Item | list[Item]), Field(min_length=1)
]
PatternText = Annotated[str, BeforeValidator(_checked_pattern)]
AskedTable = Literal["allocators", "gain"]
Seed = Annotated[int, Field(ge=0, strict=True)]


class Axes(Entry):
    """The axes of the grid. Each takes one value or a list; a row of the grid is the product of its lists."""

    model: OneOrMore[Slug] | None = Field(None, description="catalog names")
    method: OneOrMore[Slug] | None = Field(None, description="method names")
    allocator: OneOrMore[Slug] | None = Field(None, description="default: uniform")
    pattern: OneOrMore[PatternText] | None = Field(
        None, description="unstructured (default), or 2of4: 2 kept of every 4 inputs"
    )
    sparsity: OneOrMore[Sparsity] | None = Field(None, description="fraction of zeros; an n:m pattern fixes its own")
    calibration: OneOrMore[Calibration] | None = Field(None, description="CORPUS_SAMPLESxSEQLEN, as in c4_type_16x512")
    seed: OneOrMore[Seed] | None = Field(None, description="default: 0")


class Row(Axes):
    """One row of a grid."""

    suites: OneOrMore[Slug] | None = Field(None, description="for the cells of this row, instead of the study's")


class Study(Entry):
    """A named grid of cells, and the suites that evaluate them."""

    title: str = ""
    suites: OneOrMore[Slug]
    defaults: Axes = Field(default_factory=Axes, description="axes that every row shares unless it says otherwise")
    grid: list[Row] = Field(min_length=1)
    exclude: list[Axes] = Field(default_factory=list, description="cells that match all axes of a row are left out")
    tables: OneOrMore[AskedTable] = Field(
        default_factory=list,
        description="more tables than those of the suites. allocators: a row per allocator, method by method; "
        "gain: how much better each is than uniform sparsity",
    )
    searches: OneOrMore[Slug] = Field(
        default_factory=list, description="searches whose course is a figure: names from the catalog"
    )
    published: OneOrMore[str] = Field(
        default_factory=list, description="whose published values stand beside ours: papers, default all that there are"
    )


class Config(Entry):
    """The root of a config file. The catalog sections add entries to those of config/catalog/."""

    studies: dict[Slug, Study] = Field(min_length=1)
    compute: Compute = Field(default_factory=Compute)
    keep_weights: Literal["packed", "mask", "none"] = Field(
        "packed", description="what stays of a cell's weights after its evaluations: all, which are zero, or nothing"
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


def load_config(raw: dict[str, Any], file: str = "config/config.yaml", catalog: Path = CATALOG) -> Config:
    """Validate `raw` (the parsed config `file`), complete it with the catalogs, check every name and parameter.

    Raises PrunebenchError listing all mistakes found.
    """
    config, files = with_catalogs(raw, file, catalog)
    mistakes = [f"{file}: {mistake}" for mistake in _unknown_names(config)]
    mistakes += [f"{files[kind, name]}: {mistake}" for kind, name, mistake in _bad_entries(config)]
    mistakes = mistakes or [f"{file}: {mistake}" for mistake in (*_empty_tables(config), *_unknown_sources(config))]
    # Only of what is used: a catalog may name local models that another machine has.
    mistakes = mistakes or [f"{files[kind, name]}: {mistake}" for kind, name, mistake in _missing_files(config)]
    if mistakes:
        raise PrunebenchError("\n".join(mistakes))
    return config


def with_catalogs(
    raw: dict[str, Any], file: str = "config/config.yaml", catalog: Path = CATALOG
) -> tuple[Config, dict[tuple[str, str], str]]:
    """`raw` with the entries of the catalogs beside its own, names unchecked; and by (catalog, name) the file of each.

    Methods and allocators are usable under their own name without an entry: adding one is adding a file.
    """
    config = validate(Config, raw, file)
    merged: dict[str, dict[str, Any]] = {}
    files: dict[tuple[str, str], str] = {}
    for kind, entry in CATALOGS.items():
        path = catalog / f"{kind}.yaml"
        stored = validate(RootModel[dict[Slug, entry]], read_yaml(path), path).root if path.exists() else {}  # type: ignore[valid-type]
        own = getattr(config, kind)
        merged[kind] = stored | own
        files |= {(kind, name): file if name in own else str(path) for name in merged[kind]}
    for kind in ("methods", "allocators"):
        bare = {name: CATALOGS[kind].model_validate({SINGULAR[kind]: name}) for name in registry.ready(kind)}
        merged[kind] = bare | merged[kind]
    return config.model_copy(update=merged), files


def read_config(file: Path) -> dict[str, Any]:
    """The parsed config `file`, unchecked; PrunebenchError if it is not there or not YAML."""
    if not file.is_file():
        raise PrunebenchError(
            f"there is no {file.absolute()}: run this where you run snakemake, or name a config with --configfile"
        )
    raw: dict[str, Any] = read_yaml(file)
    return raw


def read_yaml(path: Path) -> Any:
    """Parse the YAML file at `path`, an empty one as an empty mapping; PrunebenchError says where it is not YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except yaml.YAMLError as error:
        raise PrunebenchError(f"{path} is not valid YAML: {error}") from None


def _unknown_names(config: Config) -> list[str]:
    """Every catalog name that a study uses and nobody defines."""
    mistakes = []
    for name, study in config.studies.items():
        rows = {"defaults": study.defaults}
        rows |= {f"grid[{i}]": row for i, row in enumerate(study.grid)}
        rows |= {f"exclude[{i}]": row for i, row in enumerate(study.exclude)}
        listed = {"suites": study.suites} | {f"grid[{i}].suites": row.suites or [] for i, row in enumerate(study.grid)}
        uses = [(f"{key}[{i}]", "suites", suite) for key, suites in listed.items() for i, suite in enumerate(suites)]
        uses += [(f"searches[{i}]", "searches", search) for i, search in enumerate(study.searches)]
        for where, row in rows.items():
            for axis, kind in (("model", "models"), ("method", "methods"), ("allocator", "allocators")):
                uses += [(f"{where}.{axis}", kind, value) for value in getattr(row, axis) or []]
            for value in row.calibration or []:
                uses.append((f"{where}.calibration", "corpora", calibration_corpus(value)))
        for where, kind, value in uses:
            known = getattr(config, kind)
            if value not in known:
                hint = registry.did_you_mean(value, known)
                if kind in ("methods", "allocators") and value in registry.names(kind):
                    needs = ", ".join(registry.required(kind, value))
                    hint = f": it needs parameters ({needs}), so give it an entry of its own under {kind!r}"
                mistakes.append(f"studies.{name}.{where}: unknown {SINGULAR[kind]} {value!r}{hint}")
            elif kind == "corpora" and (reason := _unfit(config, value, "evaluation", "calibration")):
                mistakes.append(f"studies.{name}.{where}: {reason}")
    return mistakes


def _bad_entries(config: Config) -> Iterator[tuple[str, str, str]]:
    """(catalog, name, mistake) for every plug-in, preset, parameter, corpus or model that an entry names in vain."""
    for kind in ("methods", "allocators", "suites"):
        for name, entry in getattr(config, kind).items():
            for mistake in _plugin_mistakes(config, kind, name, entry):
                yield kind, name, mistake
    for name, model in config.models.items():
        known = registry.names("models")
        if model.family not in known:
            hint = registry.did_you_mean(model.family, known)
            yield "models", name, f"models.{name}.family: unknown family {model.family!r}{hint}"
        if isinstance(model.source, TrainedSource):
            needs = {"corpora": ("training", "training"), "unseen": ("evaluation", "calibration", "tuning", "test")}
            for key, need in needs.items():
                for reason in filter(None, (_unfit(config, corpus, *need) for corpus in getattr(model.source, key))):
                    yield "models", name, f"models.{name}.source.{key}: {reason}"
    for name, search in config.searches.items():
        if search.model not in config.models:
            hint = registry.did_you_mean(search.model, config.models)
            yield "searches", name, f"searches.{name}.model: unknown model {search.model!r}{hint}"
        corpora = {"corpus": (search.corpus, "tuning")}
        corpora["calibration"] = (calibration_corpus(search.calibration), "calibration")
        for key, (corpus, split) in corpora.items():
            if unfit := _unfit(config, corpus, "evaluation", split):
                yield "searches", name, f"searches.{name}.{key}: {unfit}"


def _unfit(config: Config, corpus: str, use: str, *splits: str) -> str | None:
    """Why `corpus` cannot serve for `use` (evaluation or training) with these splits, if so."""
    entry = config.corpora.get(corpus)
    if entry is None:
        return f"unknown corpus {corpus!r}{registry.did_you_mean(corpus, config.corpora)}"
    if entry.use == use:
        absent = [split for split in splits if split not in entry.splits]
        has = f"it has: {', '.join(entry.splits)}"
        return f"corpus {corpus!r} has no split {' or '.join(absent)} ({has})" if absent else None
    has = "one split, training" if entry.use == "training" else "no split for training"
    return f"corpus {corpus!r} is for {entry.use}: it has {has}"


def _plugin_mistakes(config: Config, kind: str, name: str, entry: Any) -> list[str]:
    key, singular = f"{kind}.{name}", SINGULAR[kind]
    word = getattr(entry, singular)
    try:
        plugin = registry.load(kind, word)
    except PrunebenchError as error:
        return [f"{key}.{singular}: {error}"]
    preset = getattr(entry, "preset", "paper")
    if preset not in plugin.presets:
        return [f"{key}.preset: unknown preset {preset!r}{registry.did_you_mean(preset, plugin.presets)}"]
    try:
        instance = configured(kind, entry)
    except ValidationError as error:
        given = {**plugin.presets[preset], **entry.params}
        return explain(error, plugin.Params, given, prefix=f"{key}.params")
    mistakes = [
        f"{_holder(instance.params, asset)}: unknown {SINGULAR[of]} {asset!r}"
        f"{registry.did_you_mean(asset, getattr(config, of))}"
        for of, asset in (asset.split("/") for asset in instance.assets)
        if asset not in getattr(config, of)
    ]
    corpora = [name for of, name in (asset.split("/") for asset in instance.assets) if of == "corpora"]
    unfit = {name: _unfit(config, name, "evaluation") for name in corpora if name in config.corpora}
    mistakes += [f"{_holder(instance.params, name)}: {reason}" for name, reason in unfit.items() if reason]
    if kind == "allocators":
        mistakes += [mistake for search in instance.searches if (mistake := _unfit_search(config, instance, search))]
    if kind == "suites" and not mistakes:
        mistakes = list(instance.mistakes(config))
    return [f"{key}.params.{mistake}" for mistake in mistakes]


def _empty_tables(config: Config) -> Iterator[str]:
    """Every table that a study asks for although none of its suites measures what the table shows."""
    for name, study in config.studies.items():
        suites = {config.suites[suite].suite for row in study.grid for suite in row.suites or study.suites}
        found = {registry.load("suites", suite).table for suite in suites}
        for i, table in enumerate(study.tables):
            if not found.intersection(ASKED[table]):
                measured = " or ".join(ASKED[table])
                yield f"studies.{name}.tables[{i}]: {table!r} needs a suite of the table {measured}"


def _unknown_sources(config: Config) -> Iterator[str]:
    """Every source of published values that a study asks for and that has none."""
    for name, study in config.studies.items():
        for i, source in enumerate(study.published):
            known = {value.source for value in load_values()}
            if source not in known:
                yield f"studies.{name}.published[{i}]: unknown source {source!r}{registry.did_you_mean(source, known)}"


def _unfit_search(config: Config, allocator: Allocator, search: Search) -> str | None:
    """Why `allocator` cannot use what `search` finds, if so."""
    entry = config.searches.get(search.name)
    if entry is None:
        return f"search: unknown search {search.name!r}{registry.did_you_mean(search.name, config.searches)}"
    if entry.space != allocator.space:
        return f"search: {search.name!r} is a search of {entry.space}, {allocator.name!r} takes {allocator.space}"
    if search.seed is not None and search.seed not in entry.seeds:
        known = ", ".join(map(str, entry.seeds))
        return f"search_seed: search {search.name!r} has no seed {search.seed} (it has: {known})"
    if allocator.place > entry.evaluations:
        return (
            f"place: search {search.name!r} has {entry.evaluations} evaluations, so none is in place {allocator.place}"
        )
    return None


def _holder(params: Parameters, name: str) -> str:
    """The parameter that is, or lists, `name`."""
    return next(key for key, value in params if name == value or (isinstance(value, list) and name in value))


def _missing_files(config: Config) -> Iterator[tuple[str, str, str]]:
    """(catalog, name, mistake) for every local model or corpus that a study uses and that is not there."""
    studies = config.studies.values()
    rows = [row for study in studies for row in (study.defaults, *study.grid)]
    suites = {suite for study in studies for row in study.grid for suite in row.suites or study.suites}
    used = {("models", model) for row in rows for model in row.model or []}
    used |= {("corpora", calibration_corpus(value)) for row in rows for value in row.calibration or []}
    plugins = [configured("suites", config.suites[suite]) for suite in suites]
    plugins += [configured("methods", config.methods[method]) for row in rows for method in row.method or []]
    assets = {asset for plugin in plugins for asset in plugin.assets}
    used |= {(kind, name) for kind, name in (asset.split("/") for asset in assets)}
    for name in _used_searches(config):
        search = config.searches[name]
        corpora = (search.corpus, calibration_corpus(search.calibration))
        used |= {("models", search.model), *(("corpora", corpus) for corpus in corpora)}
    sources = [config.models[name].source for kind, name in used if kind == "models"]
    trained = [source for source in sources if isinstance(source, TrainedSource)]
    used |= {("corpora", corpus) for source in trained for corpus in (*source.corpora, *source.unseen)}
    for kind, name in sorted(used):
        source = getattr(config, kind)[name].source
        try:
            if isinstance(source, PathSource):
                local_path(source)
        except PrunebenchError as error:
            yield kind, name, f"{kind}.{name}.source.path: {error}"


def _used_searches(config: Config) -> set[str]:
    """The searches that studies show, and those whose results their allocators use."""
    studies = config.studies.values()
    rows = [row for study in studies for row in (study.defaults, *study.grid)]
    allocators = {name for row in rows for name in row.allocator or []}
    plugins = [configured("allocators", config.allocators[name]) for name in allocators]
    taken = {search.name for plugin in plugins for search in plugin.searches}
    return taken | {name for study in studies for name in study.searches}


def configured(kind: str, entry: Any) -> Any:
    """The plug-in instance that a methods, allocators or suites entry describes."""
    plugin = registry.load(kind, getattr(entry, kind.removesuffix("s")))
    preset = entry.preset if isinstance(entry, PluginEntry) else "paper"
    return plugin(plugin.configure(preset, entry.params))


def calibration_corpus(calibration: str) -> str:
    """The corpus of a calibration name: c4_type for c4_type_16x512."""
    return calibration_parts(calibration)[0]


def calibration_parts(calibration: str) -> tuple[str, int, int]:
    """(corpus, samples, sequence length) of a calibration name such as c4_type_16x512."""
    corpus, _, size = calibration.rpartition("_")
    samples, _, seqlen = size.partition("x")
    return corpus, int(samples), int(seqlen)


def json_schema() -> str:
    """The JSON schema of a config file, for editors; config/schema.json is generated from it."""
    return json.dumps(Config.model_json_schema(), indent=1, sort_keys=True) + "\n"
